// Figures that take longer than a page: skeletons stand for them, and they are fetched once they are there.
import { refresh } from "./live.js";

export function begin() {
  setTimeout(() => refresh(), 350);
}
