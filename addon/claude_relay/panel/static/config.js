// What changes relay.yaml: shown as a diff first, then saved.
import { $, agreed, api, make, texts, toast } from "./api.js";

const SIGNS = { added: "+ ", removed: "- ", same: "  ", place: "⋯" };

export const drawn = (diff) => make("pre", { className: "diff", tabIndex: 0 }, ...diff.map(({ kind, text }) => make("span", { className: kind }, SIGNS[kind], kind === "place" ? "" : text)));

// Resolves to what came, null where nothing was changed.
export async function reviewed(what, body, etag) {
  const { diff, notes, restart } = await api(`${what}?dry_run=true`, body, { etag });
  const dialog = $("#review"), note = $("[data-notes]", dialog);
  if (!diff.length) return toast(texts.same) ?? null;
  note.textContent = [...notes, ...(restart.length ? [dialog.dataset.restart, restart.join(", ")] : [])].join(" ");
  note.hidden = !note.textContent;
  $("[data-diff]", dialog).replaceChildren(drawn(diff));
  return (await agreed(dialog)) ? api(what, body, { etag }) : null;
}
