// A server of ours as a process of its own, with fresh data.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export async function serve() {
  const data = mkdtempSync(join(tmpdir(), "client-test-"));
  const server = spawn(process.env.SERVER, { env: { ...process.env, PORT: "0", DATA_DIR: data, MODEL: "offline/demo" } });
  const stop = () => {
    server.kill("SIGTERM");
    rmSync(data, { recursive: true, force: true });
  };
  const url = await new Promise((resolve, reject) => {
    let out = "";
    server.stdout.on("data", (d) => {
      out += d;
      const m = out.match(/Listening on (http:\S+:\d+)\/api/);
      if (m) resolve(m[1]);
    });
    server.on("exit", (code) => reject(new Error(`the server ended with ${code}: ${out}`)));
  });
  return { url, stop };
}
