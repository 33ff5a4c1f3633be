import { expect, it } from "vitest";
import { api } from "./api.js";
import { apiPage } from "./api-page.js";

it("stands in docs/admin-api.md as it is", async () => {
  await expect(apiPage()).toMatchFileSnapshot("../../docs/admin-api.md");
});

it("names each request, each parameter and the fields of an answer", () => {
  const page = apiPage();
  for (const { method, path } of Object.values(api)) expect(page).toContain(`\n## ${method} ${path}\n`);
  expect(page).toContain("| `enable` | `true`, `false` |  |");
  expect(page).toContain("| `map` | string, optional | this map only |");
  expect(page).toContain("| `xds.types[].nacks` | integer |");
  expect(page).toContain("| `maps.NAME.entries[].key` | object of anything |");
  expect(page).toContain("| `pods[].workload` | string or null |");
});
