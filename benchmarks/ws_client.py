"""Traders of the load benchmark: port, file of frames, window, market to watch and pace come as
arguments. Says when it is connected, goes when it is told, prints what it saw.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import msgspec
import uvloop
from websockets.asyncio.client import ClientConnection, connect

SUBPROTOCOL = "deltaroll.v1.msgpack"
ENDS_WELL = ("resting", "partially_filled", "filled", "cancelled")


async def trade(
    socket: ClientConnection,
    frames: list[bytes],
    window: int,
    latencies: list[float],
    interval: float,
) -> int:
    """Send all frames, no more than `window` unanswered and, if that is not 0, one every `interval`
    seconds; return how many orders went through.

    A latency counts from when the frame was due: a late one is late for its successors, too.
    """
    sent: dict[int, float] = {}
    room = asyncio.Semaphore(window)
    accepted = 0

    async def read() -> None:
        nonlocal accepted
        for _ in frames:
            answer = msgspec.msgpack.decode(await socket.recv())
            latencies.append(time.perf_counter() - sent[answer["id"]])
            accepted += answer["result"]["status"] in ENDS_WELL
            room.release()

    reader = asyncio.create_task(read())
    due = time.perf_counter()
    for frame in frames:
        await room.acquire()
        number = msgspec.msgpack.decode(frame)["id"]
        if interval:
            due += interval
            await asyncio.sleep(due - time.perf_counter())
            sent[number] = due
        else:
            sent[number] = time.perf_counter()
        await socket.send(frame)
    await reader
    return accepted


async def watch(socket: ClientConnection, market: int) -> None:
    """Follow the book and the trades, as a market data client does."""
    for number, channel in enumerate((f"book.{market}", f"trades.{market}")):
        request = {"op": "subscribe", "id": number, "channel": channel}
        await socket.send(msgspec.msgpack.encode(request))
    async for _ in socket:
        pass


async def run(port: int, path: Path, window: int, market: int, pace: int) -> None:
    """Connect, wait for the word, trade."""
    url = f"ws://127.0.0.1:{port}/v1/ws"
    flows = msgspec.msgpack.decode(path.read_bytes())
    sockets = [
        await connect(url, subprotocols=[SUBPROTOCOL], compression=None)  # type: ignore[list-item]
        for _ in range(len(flows) + 1)
    ]
    watcher = asyncio.create_task(watch(sockets[-1], market))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    latencies: list[float] = []
    interval = len(flows) / pace if pace else 0.0
    started = time.perf_counter()
    accepted = await asyncio.gather(
        *(
            trade(socket, frames, window, latencies, interval)
            for socket, frames in zip(sockets, flows, strict=False)
        )
    )
    seconds = time.perf_counter() - started
    result = {"accepted": sum(accepted), "seconds": seconds, "latencies": sorted(latencies)}
    print(json.dumps(result), flush=True)
    watcher.cancel()
    for socket in sockets:
        await socket.close()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:])))
