"""The three lines of the README, in each language: extracted, run, and stopped from outside."""

import os
import pathlib
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from support.stack import SOURCE, Stack, ask, until

BUILD = pathlib.Path(os.environ.get("BW_BUILD", SOURCE / "build"))
PARTS = (SOURCE / "README.md").read_text().split("## Join in three lines")[1].split("\n## ")[0]

JS = """
const request = {{ headers: {{}} }}
const work = ({{ signal }}) => new Promise((_, stop) => {{
  if (signal.aborted) stop(signal.reason)
  signal.addEventListener('abort', () => stop(signal.reason))
}})
setInterval(() => {{}}, 1000)
{lines}
"""
PYTHON = """
import asyncio, types
request = types.SimpleNamespace(headers={{}})
async def work(headers):
    assert "baggage" in headers
    await asyncio.Event().wait()
async def agent():
{lines}
asyncio.run(agent())
"""
C = """
#include <brakewire/brakewire.h>
#include <unistd.h>
static int work(void) {{ return usleep(1000) == 0; }}
int main(void)
{{
    struct bw_client *client;
    struct bw_run *run;
    if (bw_client_open(NULL, &client) != BW_OK)
        return 1;
{lines}
    bw_client_close(client);
}}
"""


def example(language: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```$", PARTS, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"one example in {language}"
    lines: str = found[0]
    assert len(lines.strip().split("\n")) == 3
    return lines


def in_js(folder: pathlib.Path) -> list[str]:
    (folder / "node_modules").symlink_to(SOURCE / ".deps/interop/js/node_modules")
    (folder / "agent.mjs").write_text(JS.format(lines=example("js")))
    return [os.environ["BW_NODE"], "agent.mjs"]


def in_python(folder: pathlib.Path) -> list[str]:
    lines = re.sub("^", "    ", example("python"), flags=re.MULTILINE)
    (folder / "agent.py").write_text(PYTHON.format(lines=lines))
    return [os.environ["BW_PYTHON"], "agent.py"]


def in_c(folder: pathlib.Path) -> list[str]:
    (folder / "agent.c").write_text(C.format(lines=example("c")))
    prefix = folder / "prefix"
    subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix], check=True, stdout=subprocess.DEVNULL)
    [found] = prefix.glob("**/brakewire.pc")
    environment = {**os.environ, "PKG_CONFIG_PATH": str(found.parent)}
    flags = subprocess.run(["pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "brakewire"], check=True, text=True,
                           stdout=subprocess.PIPE, env=environment).stdout.split()
    library = [flag.removeprefix("-L") for flag in flags if flag.startswith("-L")]
    subprocess.run(["cc", "agent.c", "-o", "agent", *flags, *(f"-Wl,-rpath,{path}" for path in library)],
                   check=True, cwd=folder)
    return ["./agent"]


@pytest.fixture(params=[in_js, in_python, in_c])
def agent(request: pytest.FixtureRequest, stack: Stack, tmp_path: pathlib.Path) -> Iterator[subprocess.Popen[str]]:
    command = request.param(tmp_path)
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "BRAKEWIRE_AGENTD": stack.agentds[0]})
    yield process
    process.kill()
    process.communicate()


def the_run(stack: Stack, state: str) -> Any:
    answer = ask(stack.broker, "GET", f"/v1/runs?agent=researcher&state={state}")
    return answer.json["runs"]


def test_three_lines_are_enough_to_be_stopped(stack: Stack, agent: subprocess.Popen[str]) -> None:
    run = until(lambda: the_run(stack, "running"))[0]["run_id"]
    cancel = ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough", "wait": "stopped"})
    assert (cancel.status, cancel.json["complete"]) == (200, True)
    assert ask(stack.broker, "GET", f"/v1/runs/{run}").json["state"] == "cancelled"
    _, errors = agent.communicate(timeout=20)
    assert "no agentd" not in errors


def test_the_same_with_curl(stack: Stack) -> None:
    done = subprocess.run(["bash", "-ec", example("sh") + "\nkill %1"], check=True, text=True, timeout=30,
                          stdout=subprocess.PIPE, env={**os.environ, "BRAKEWIRE_AGENTD": stack.agentds[1]})
    assert '"state":"success"' in done.stdout.replace(" ", "")
