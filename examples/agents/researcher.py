"""The sub-agent: reads, and asks a searcher. A FastAPI service around a LangGraph graph of Python;
streams its progress as lines of JSON."""

import asyncio
import json
import operator
import os
import random
import socket
import time
import uuid
from contextlib import asynccontextmanager
from typing import Annotated, Any, AsyncIterator, TypedDict

import brakewire
import httpx
import uvicorn
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types import Role, SendMessageRequest
from brakewire.langgraph import fenced
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph

STEPS = 160


def record(conversation: str, what: str) -> None:
    line = {"at": time.time() * 1000, "level": "researcher", "replica": os.environ["REPLICA"],
            "conversation": conversation, "what": what}
    with open(os.environ["LEDGER"], "a") as ledger:
        ledger.write(json.dumps(line) + "\n")


class State(TypedDict):
    conversation: str
    pages: Annotated[int, operator.add]
    found: Annotated[int, operator.add]


async def read(state: State) -> dict[str, int]:
    await asyncio.sleep(0.05)
    record(state["conversation"], "step")
    return {"pages": 1}


async def ask(state: State) -> dict[str, int]:
    """Any replica of the searcher, over A2A; its progress is passed on as it comes."""
    write = get_stream_writer()
    searcher = random.choice(os.environ["SEARCHERS"].split(","))
    found = 0
    run = brakewire.current_run()
    headers = run.headers() if run else {}
    async with httpx.AsyncClient(timeout=None, headers=headers) as http:
        client = await create_client(searcher, ClientConfig(httpx_client=http))
        message = new_text_message(state["conversation"], role=Role.ROLE_USER)
        async for _ in client.send_message(SendMessageRequest(message=message)):
            found += 1
            write({"found": found})
    return {"found": found}


def graph() -> StateGraph[State]:
    build = StateGraph(State)
    build.add_node("read", read)
    build.add_node("ask", ask)
    build.add_edge(START, "read")
    build.add_edge(START, "ask")
    build.add_conditional_edges("read", lambda state: "read" if state["pages"] < STEPS else END)
    build.add_edge("ask", END)
    return build


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One connection to the checkpoints: opened anew for each request, they would lock each other out."""
    async with AsyncSqliteSaver.from_conn_string(os.environ["CHECKPOINTS"]) as saver:
        await saver.setup()
        app.state.chain = graph().compile(checkpointer=fenced(saver))
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/research")
async def research(request: Request) -> StreamingResponse:
    conversation = (await request.json())["conversation"]

    async def work() -> AsyncIterator[object]:
        config: RunnableConfig = {"configurable": {"thread_id": str(uuid.uuid4())},
                                  "recursion_limit": STEPS + 10}
        start: Any = {"conversation": conversation}
        async for part in app.state.chain.astream(start, config, stream_mode="custom"):
            yield part

    async def noted() -> AsyncIterator[object]:
        try:
            async for part in work():
                yield part
            record(conversation, "finished")
        except asyncio.CancelledError:  # by Brakewire, or whoever asked has hung up
            record(conversation, "stopped")
            raise

    async def lines() -> AsyncIterator[str]:
        try:
            async with brakewire.run(agent="researcher", headers=request.headers):
                async for part in noted():
                    yield json.dumps(part) + "\n"
        except brakewire.Cancelled as cancelled:
            yield json.dumps({"cancelled": str(cancelled)}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
