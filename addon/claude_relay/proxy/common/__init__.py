"""What every room may use: `loops`, the `clock` of cooldowns and waits, `rejections` counted and told, the `process`."""
