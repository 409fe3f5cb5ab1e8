"""Made-up exports of other gateways, in the forms that these write."""

from __future__ import annotations

from typing import Any

HASH = "5e884898da28047151d0e56f8dc6292773603d0d6aabbd62a11ef721d1542d8"
CLIENT_KEY = "cr_0123456789abcdef0123456789abcdef"
SECRETS = tuple(f"sk-ant-api03-{word}-0123456789abcdef" for word in ("one", "two", "three", "four"))

RELAY_SERVICE: dict[str, Any] = {
    "metadata": {"version": "2.0", "exportDate": "2026-11-01T00:00:00.000Z", "sanitized": False, "types": ["all"]},
    "data": {
        "apiKeys": [
            {
                "id": "7d9f2c1e-0000-4000-8000-000000000001", "name": "alice", "description": "web team", "apiKey": HASH,
                "tokenLimit": "0", "concurrencyLimit": "3", "rateLimitWindow": "1", "rateLimitRequests": "60",
                "rateLimitCost": "0", "isActive": "true", "permissions": "[]", "enableModelRestriction": "false",
                "restrictedModels": "[]", "enableClientRestriction": "true", "allowedClients": '["claude_code"]',
                "dailyCostLimit": "20", "totalCostLimit": "0", "weeklyOpusCostLimit": "50.5", "tags": '["web", "red"]',
                "expirationMode": "fixed", "expiresAt": "2027-01-01T00:00:00.000Z", "userId": "u-1", "claudeAccountId": "",
            },
            {
                "id": "7d9f2c1e-0000-4000-8000-000000000002", "name": "\u5f20\u4e09 / 2", "apiKey": HASH, "tokenLimit": "600000",
                "concurrencyLimit": "0", "rateLimitWindow": "300", "rateLimitRequests": "900", "rateLimitCost": "10",
                "isActive": "false", "permissions": "claude,gemini", "enableModelRestriction": "true",
                "restrictedModels": '["claude-opus-4-1"]', "dailyCostLimit": "0", "tags": "[]", "expirationMode": "activation",
                "activationDays": "12", "activationUnit": "hours", "isActivated": "false", "expiresAt": "",
                "claudeConsoleAccountId": "acc-1",
            },
            {"id": "3", "name": "gone", "apiKey": HASH, "isDeleted": "true"},
        ],
        "claudeAccounts": [{"id": "oauth", "accessToken": "x"}],
    },
}  # fmt: skip
ACCOUNTS: dict[str, Any] = {
    "success": True,
    "data": {
        "exportedAt": "2026-11-01T00:00:00.000Z",
        "claudeAccounts": [{"kind": "claude-account", "credentials": {"access_token": "t"}}],
        "claudeConsoleAccounts": [
            {
                "kind": "claude-console-account", "name": "main", "isActive": True, "schedulable": True, "priority": 50,
                "proxy": {"protocol": "socks5", "host": "proxy.example", "port": 1080, "username": "u", "password": "p"},
                "maxConcurrentTasks": 4, "credentials": {"api_key": SECRETS[0], "base_url": "https://api.anthropic.com"},
            },
            {
                "kind": "claude-console-account", "name": "off", "isActive": False, "schedulable": True, "proxy": None,
                "maxConcurrentTasks": 0, "credentials": {"api_key": SECRETS[1], "base_url": "https://open.bigmodel.cn/api/anthropic"},
            },
        ],
        "openaiResponsesAccounts": [],
    },
}  # fmt: skip
LITELLM: dict[str, Any] = {
    "keys": [
        {
            "token": HASH, "key_name": "sk-...91ab", "key_alias": "alice", "user_id": "u-1", "team_id": "t-1", "spend": 1.5,
            "expires": "2027-01-01T00:00:00+00:00", "models": ["anthropic/claude-sonnet-5", "claude-haiku-*"],
            "max_parallel_requests": 2, "rpm_limit": 60, "tpm_limit": 100000, "max_budget": 20.0, "budget_duration": "1d",
            "model_max_budget": {"claude-opus-4-1": {"budget_limit": 5, "time_period": "30d"}},
            "metadata": {"tags": ["web"], "model_rpm_limit": {"claude-opus-4-1": 6}}, "blocked": None,
        },
        {
            "token": HASH, "key_name": "sk-...77aa", "key_alias": None, "user_id": "bob@example.com", "team_id": None,
            "expires": None, "models": ["all-team-models"], "max_budget": 9, "budget_duration": "12h", "blocked": True,
            "metadata": {}, "allowed_routes": ["llm_api_routes"],
        },
        {"token": HASH, "key_alias": "alice", "models": ["no-default-models"], "metadata": {}},
    ],
    "teams": [{"team_id": "t-1", "team_alias": "Web team", "tpm_limit": 500000, "max_budget": 100, "budget_duration": "1mo"}],
    "total_count": 3,
}  # fmt: skip
LITELLM_YAML = f"""
model_list:
  - model_name: sonnet
    litellm_params: {{model: anthropic/claude-sonnet-5, api_key: {SECRETS[0]}, rpm: 50, tpm: 40000, weight: 2}}
  - model_name: haiku
    litellm_params: {{model: anthropic/claude-haiku-4-5, api_key: os.environ/SECOND_KEY, rpm: 5}}
  - model_name: haiku-again
    litellm_params: {{model: anthropic/claude-haiku-4-5, api_key: os.environ/SECOND_KEY, rpm: 6}}
  - model_name: unset
    litellm_params: {{model: openai/gpt-6, api_key: os.environ/UNSET_KEY}}
  - model_name: glm
    litellm_params: {{model: openai/glm-4.6, api_base: https://open.bigmodel.cn/api/paas/v4, api_key: {SECRETS[2]}}}
general_settings: {{master_key: sk-1234}}
"""
CLIPROXY_YAML = f"""
port: 8317
auth-dir: "~/.cli-proxy-api"
api-keys: ["{CLIENT_KEY}", "your-api-key-2"]
claude-api-key:
  - api-key: {SECRETS[0]}
    weight: 5
    prefix: test
    proxy-url: none
  - {{api-key: {SECRETS[1]}, base-url: "https://open.bigmodel.cn/api/anthropic"}}
openai-compatibility:
  - {{name: other, base-url: "https://llm.example/v1", api-key-entries: [{{api-key: {SECRETS[2]}}}]}}
"""
NEW_API: dict[str, Any] = {
    "tokens": [
        {
            "id": 1, "user_id": 7, "key": CLIENT_KEY, "status": 1, "name": "alice", "expired_time": 1798761600,
            "remain_quota": 2500000, "unlimited_quota": 0, "model_limits_enabled": 1,
            "model_limits": "claude-sonnet-5,claude-haiku-4-5", "allow_ips": "10.0.0.0/24\n192.0.2.7\nnonsense", "group": "vip",
            "deleted_at": None,
        },
        {
            "id": 2, "user_id": 8, "key": CLIENT_KEY, "status": 2, "name": "alice", "expired_time": -1, "remain_quota": 0,
            "unlimited_quota": 1, "model_limits_enabled": 0, "model_limits": "", "allow_ips": "", "group": "default",
            "deleted_at": None,
        },
        {
            "id": 3, "user_id": 8, "key": CLIENT_KEY, "status": 4, "name": "spent", "expired_time": -1, "remain_quota": 0,
            "unlimited_quota": 0, "group": "", "deleted_at": None,
        },
        {"id": 4, "key": CLIENT_KEY, "status": 1, "name": "gone", "remain_quota": 0, "deleted_at": "2026-01-01 00:00:00"},
    ],
    "channels": [
        {"id": 1, "type": 14, "key": f"{SECRETS[0]}\n{SECRETS[1]}", "status": 1, "name": "claude", "weight": 3, "base_url": "",
         "channel_info": '{"is_multi_key": true, "multi_key_status_list": {"1": 3}}'},
        {"id": 2, "type": 1, "key": SECRETS[2], "status": 2, "name": "elsewhere", "weight": 0,
         "base_url": "https://llm.example", "channel_info": "{}"},
        {"id": 3, "type": 41, "key": '[{"type": "service_account"}]', "status": 1, "name": "vertex", "base_url": None},
    ],
}  # fmt: skip
