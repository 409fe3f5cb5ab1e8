// What takes longer than its page: fetched anew until it is there.
import { refresh } from "./live.js";

export const begin = (part) => setTimeout(refresh, part.dataset.after || 350);
