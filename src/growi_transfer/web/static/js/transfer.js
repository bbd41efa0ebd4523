// The page of one transfer, and of all of them.

import { byId, fill, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { startShell } from "./shell.js";
import { transferList } from "./transfer-list.js";
import { showTransfer } from "./transfer-view.js";

const [, transferId] = /^\/transfers\/([0-9a-f]{32})$/.exec(location.pathname) ?? [];
await startShell({ page: "transfers" });
if (transferId) {
  showTransfer(byId("main"), { transferId });
} else {
  const line = h("p", { class: "line waiting", role: "status" });
  const onConnection = ({ state }) => {
    line.className = `line ${state === "live" ? "live" : "waiting"}`;
    line.dataset.state = state;
    setText(line, t(`common.line.${state}`));
  };
  const { element } = transferList({ heading: "list.heading", empty: "transfer.none", onConnection });
  fill(byId("main"), h("div", { class: "spread" }, h("h1", null, t("transfer.heading_all")), line), element);
}
