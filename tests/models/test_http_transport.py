"""One question over real sockets: attempts, waits, timeouts, limits, connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from email.utils import formatdate
from pathlib import Path

import pytest

from ostinato.domain.chat import Usage, UserPart
from ostinato.domain.values import SECOND
from ostinato.models.chat_model import ATTEMPTS_MAX
from ostinato.models.http_transport import REPLY_MAX_BYTES
from ostinato.models.port import ModelFailed
from ostinato.models.settings import Timeouts
from ostinato.testing.clock import ManualClock
from tests.conftest import run
from tests.models.stage import IMPATIENT, Asker, asking, call, delta, http, reply, sse

GOOD = http(json.dumps(reply()).encode())
BUSY = http(b'{"error": {"message": "busy"}}', status="503 Busy")


def limited(after: str) -> bytes:
    return http(b"{}", status="429 Slow", headers=f"Retry-After: {after}\r\n")


async def moving(clock: ManualClock, work: Awaitable[object], *seconds: float) -> object:
    """Do the work while time is moved by these steps, each as soon as somebody sleeps."""
    task = asyncio.ensure_future(work)
    for step in seconds:
        await clock.wait_sleepers(1)
        clock.advance(step)
    return await task


@pytest.mark.parametrize("stream", [True, False])
def test_a_reply_is_asked_for_once_and_is_one_attempt(stream: bool) -> None:
    async def main() -> None:
        answer = sse(delta(content="hello"), delta(finish="stop")) if stream else GOOD
        async with asking(answer, stream=stream) as (asker, server):
            found = await asker.ask(listen=True)
        assert (found.text, asker.heard) == ("hello", ["hello"])
        head, body = server.asked[0]
        assert head.startswith("POST /v1/chat/completions HTTP/1.1")
        assert "authorization" not in head.lower()
        assert body.get("stream", False) is stream
        (attempt,) = asker.attempts
        assert (attempt.provider, attempt.model, attempt.status, attempt.error) == ("here", "m", 200, "")
        assert attempt.duration_ms > 0

    run(main())


@pytest.mark.slow
@pytest.mark.parametrize("stream", [True, False])
def test_fifty_at_once_share_connections_that_are_kept(stream: bool) -> None:
    async def main() -> None:
        events = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in [delta("stop", content="a")])
        streamed = http(events + b"data: [DONE]\n\n", kind="text/event-stream")
        async with asking(streamed if stream else GOOD, stream=stream) as (asker, server):
            for _ in range(4):
                await asyncio.gather(*(asker.ask() for _ in range(50)))
            assert len(server.asked) == len(asker.attempts) == 200
            assert server.connections <= 50

    run(main())


def test_the_connection_of_a_chunked_stream_is_kept_although_its_end_comes_late() -> None:
    async def main() -> None:
        events = sse(delta("stop", content="a")).partition(b"\r\n\r\n")[2]
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

        late = [head + b"%x\r\n%s\r\n" % (len(events), events), 0.01, b"0\r\n\r\n"]
        async with asking(late) as (asker, server):
            for _ in range(3):
                assert (await asker.ask()).text == "a"
            assert server.connections == 1

    run(main())


def test_a_transient_failure_is_tried_again_within_seconds_and_each_try_is_told() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with asking(BUSY, BUSY, GOOD, clock=clock, stream=False) as (asker, _):
            await moving(clock, asker.ask(), 0.5, 1.0)
        assert [each.status for each in asker.attempts] == [503, 503, 200]
        assert [each.usage.tokens for each in asker.attempts] == [0, 0, 15]
        assert "busy" in asker.attempts[0].error

    run(main())


def test_after_the_last_try_the_failure_is_told_with_its_class() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with asking(BUSY, clock=clock) as (asker, _):
            error = await moving(clock, asker.fails(), 0.5, 1.0)
        assert isinstance(error, ModelFailed)
        assert error.error_class == "transient"
        assert str(error) == "Model 'here/m': the server answered 503: busy"
        assert len(asker.attempts) == ATTEMPTS_MAX

    run(main())


@pytest.mark.parametrize("after", ["2", "date"])
def test_a_short_wait_that_the_provider_asks_for_is_waited(after: str) -> None:
    async def main() -> None:
        clock = ManualClock()
        said = formatdate(clock.now() / SECOND + 2, usegmt=True) if after == "date" else after
        async with asking(limited(said), GOOD, clock=clock, stream=False) as (asker, server):
            task = asyncio.ensure_future(asker.ask())
            await clock.wait_sleepers(1)
            clock.advance(1.9)
            await asyncio.sleep(0)
            assert len(server.asked) == 1
            clock.advance(0.2)
            assert (await task).text == "hello"

    run(main())


def test_what_one_call_was_told_holds_for_the_others_of_its_model_until_the_store_knows() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with asking(limited("60"), GOOD, clock=clock, stream=False) as (asker, server):
            for attempts in (1, 1):
                error = await asker.fails()
                assert isinstance(error, ModelFailed)
                assert (error.error_class, error.after_s) == ("rate_limited", 60.0)
                assert len(server.asked) == len(asker.attempts) == attempts, "the second was not sent"
            clock.advance(5.1)
            assert (await asker.ask()).text == "hello", "by then the breakers decide"
        async with asking(limited("3"), GOOD, clock=clock, stream=False) as (asker, server):
            first = asyncio.ensure_future(asker.ask())
            await clock.wait_sleepers(1)
            second = asyncio.ensure_future(asker.ask())
            await clock.wait_sleepers(2)
            assert len(server.asked) == 1
            clock.advance(3.1)
            assert {(await first).text, (await second).text} == {"hello"}
            assert len(server.asked) == 3

    run(main())


@pytest.mark.parametrize("status", ["429 Slow", "503 Busy"])
def test_a_long_wait_is_left_to_whoever_schedules(status: str) -> None:
    async def main() -> None:
        answer = http(b"{}", status=status, headers="Retry-After: 60\r\n")
        async with asking(answer) as (asker, server):
            error = await asker.fails()
            assert isinstance(error, ModelFailed)
            assert (error.error_class, error.after_s) == ("rate_limited", 60.0)
            assert len(server.asked) == 1

    run(main())


@pytest.mark.parametrize(
    ("answer", "error_class", "words"),
    [
        (http(b'{"error": {"message": "bad key"}}', status="401 No"), "permanent", "Check the key in THE_KEY"),
        (http(b"{}", status="404 No"), "permanent", "base_url"),
        (http(b"", status="302 Found", headers="Location: http://127.0.0.1:1/\r\n"), "permanent", "redirects"),
        (http(b'{"error": {"code": "context_length_exceeded"}}', status="400 No"), "too_long", "context"),
    ],
)
def test_a_permanent_failure_is_told_at_once_with_its_cure(answer: bytes, error_class: str, words: str) -> None:
    async def main() -> None:
        async with asking(answer, api_key_env="THE_KEY", environment={"THE_KEY": "s3cret"}) as (asker, server):
            error = await asker.fails()
            assert isinstance(error, ModelFailed)
            assert error.error_class == error_class
            assert words in str(error)
            assert len(server.asked) == 1
            assert "Authorization: Bearer s3cret" in server.asked[0][0]

    run(main())


def test_a_key_that_a_provider_repeats_does_not_show() -> None:
    async def main() -> None:
        answer = http(b'{"error": {"message": "wrong key: canary-0815 given"}}', status="401 No")
        async with asking(answer, api_key_env="K", environment={"K": "canary-0815"}) as (asker, _):
            error = await asker.fails()
            assert "canary" not in f"{error!r} {error} {asker.attempts}"

    run(main())


def test_a_missing_key_is_told_before_anything_is_sent() -> None:
    async def main() -> None:
        async with asking(GOOD, api_key_env="NO_SUCH_KEY") as (asker, server):
            error = await asker.fails()
            assert "NO_SUCH_KEY" in str(error)
            assert (server.asked, asker.attempts) == ([], [])

    run(main())


def test_a_key_may_come_from_a_file(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "key").write_text("from-a-file\n")
        environment = {"K_FILE": str(tmp_path / "key")}
        async with asking(GOOD, stream=False, api_key_env="K", environment=environment) as (asker, server):
            await asker.ask()
            assert "Authorization: Bearer from-a-file" in server.asked[0][0]

    run(main())


def test_a_server_that_is_not_there_is_tried_again() -> None:
    async def main() -> None:
        clock = ManualClock()
        asker = Asker("http://127.0.0.1:9/v1", clock=clock)
        error = await moving(clock, asker.fails(), 0.5, 1.0)
        await asker.close()
        assert isinstance(error, ModelFailed)
        assert error.error_class == "transient"
        assert [each.status for each in asker.attempts] == [0, 0, 0]

    run(main())


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_wait() -> None:
    async def main() -> None:
        clock = ManualClock()
        async with asking([b"", b""], GOOD, clock=clock) as (asker, _):
            assert (await asker.ask()).text == "hello"
            assert [each.status for each in asker.attempts] == [0, 200]
        async with asking([b"", b""], clock=clock) as (asker, _):
            error = await moving(clock, asker.fails(), 1.0)
            assert "hung up" in str(error)

    run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        GOOD[:-9],
    ],
)
def test_a_connection_that_ends_too_early_is_tried_again(answer: bytes) -> None:
    async def main() -> None:
        clock = ManualClock()
        async with asking([answer, b""], GOOD, clock=clock) as (asker, server):
            await moving(clock, asker.ask(), 0.5)
            assert len(server.asked) == 2

    run(main())


def test_a_stream_that_breaks_off_is_tried_again_unless_somebody_has_read_its_beginning() -> None:
    async def main() -> None:
        clock = ManualClock()
        half = sse(delta(content="four words were said"), done=False)
        async with asking(half, GOOD, clock=clock) as (asker, _):
            await moving(clock, asker.ask(), 0.5)
            assert asker.attempts[0].usage.output_tokens == 5
            assert asker.attempts[0].usage.input_tokens > 10
        async with asking(half, GOOD, clock=clock) as (asker, server):
            error = await asker.fails(listen=True)
            assert isinstance(error, ModelFailed)
            assert error.error_class == "transient"
            assert asker.heard == ["four words were said"]
            assert len(server.asked) == 1

    run(main())


def test_an_error_in_the_middle_of_a_stream_has_its_own_class() -> None:
    async def main() -> None:
        broken = sse(delta(content="a"), {"error": {"code": 429, "message": "slow"}}, done=False)
        clock = ManualClock()
        async with asking(broken, GOOD, clock=clock) as (asker, _):
            await moving(clock, asker.ask(), 0.5)
            assert "slow" in asker.attempts[0].error

    run(main())


def test_usage_that_a_provider_does_not_name_is_estimated_not_nothing() -> None:
    async def main() -> None:
        async with asking(sse(delta(content="x" * 40, finish="stop"))) as (asker, server):
            found = await asker.ask()
            assert found.usage.output_tokens == 10
            assert found.usage.input_tokens >= len(json.dumps(server.asked[0][1], separators=(",", ":"))) // 4
            assert asker.attempts[0].usage == found.usage != Usage()

    run(main())


def test_calls_of_a_stream_are_acted_on_like_those_of_a_reply_in_one_piece() -> None:
    async def main() -> None:
        whole = http(json.dumps(reply(None, calls=[call()], finish="tool_calls")).encode())
        piece = delta(tool_calls=[{"index": 0, **call()}])
        usage = {"choices": [], "model": "m-1", "usage": reply()["usage"]}
        async with asking(whole, stream=False) as (asker, _):
            one = await asker.ask(call=2)
        async with asking(sse(piece, delta(finish="tool_calls"), usage)) as (asker, _):
            other = await asker.ask(call=2)
        assert one == other
        assert one.calls[0].id == "2.0"

    run(main())


def test_a_server_that_does_not_stream_when_asked_to_is_understood() -> None:
    async def main() -> None:
        async with asking(GOOD, stream=True) as (asker, _):
            assert (await asker.ask(listen=True)).text == "hello"
            assert asker.heard == ["hello"]

    run(main())


def test_a_large_request_is_sent_whole() -> None:
    async def main() -> None:
        async with asking(GOOD, stream=False) as (asker, server):
            await asker.ask(parts=(UserPart(text="x" * 3_000_000),))
            assert len(server.asked[0][1]["messages"][0]["content"]) == 3_000_000

    run(main())


# --- time and size ------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
TICK = b"data: " + json.dumps(delta(content=".")).encode() + b"\n\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([5.0], "no answer"),
        ([HEAD, 5.0], "no answer"),
        ([HEAD + TICK, 5.0], "silence"),
        ([HEAD, *([TICK, 0.02] * 100)], "without an end"),
        ([GOOD[:-9], 5.0], "silence"),
    ],
)
@pytest.mark.slow
def test_each_phase_of_an_answer_has_its_own_patience(answer: list[bytes | float], words: str) -> None:
    async def main() -> None:
        async with asking(answer, timeouts=IMPATIENT) as (asker, server):
            error = await asker.fails()
            assert isinstance(error, ModelFailed)
            assert error.error_class == "transient"
            assert words in str(error)
            assert len(server.asked) == 1

    run(main())


def test_a_server_that_takes_no_connection_is_given_up() -> None:
    async def main() -> None:
        clock = ManualClock()
        # 192.0.2.0/24 is set aside for documents: nobody answers there, or the network says so at once.
        asker = Asker("http://192.0.2.1:81/v1", clock=clock, timeouts=Timeouts(connect_s=0.02))
        error = await moving(clock, asker.fails(), 0.5, 1.0)
        await asker.close()
        assert isinstance(error, ModelFailed)
        assert error.error_class == "transient"
        assert len(asker.attempts) == 3

    run(main())


def endless() -> list[bytes | float]:
    return [HEAD, *([TICK * 20_000] * 12)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        http(json.dumps(reply("x" * (REPLY_MAX_BYTES + 1))).encode()),
        endless(),
        [HEAD, *([b": ping\n\n" * 100_000] * 12)],
        [HEAD, *([b"data: " + b"x" * 1_000_000] * 12)],
    ],
    ids=["whole", "stream", "comments", "line"],
)
def test_an_endless_reply_is_cut_and_is_a_problem(answer: bytes | list[bytes | float]) -> None:
    async def main() -> None:
        async with asking(answer) as (asker, server):
            found = await asker.ask()
            assert found.problem == "the reply is longer than 8 MiB"
            assert len(found.text) <= 16_384
            assert found.calls == ()
            assert len(server.asked) == 1
            assert asker.attempts[0].error == found.problem

    run(main())


def test_a_cancelled_question_is_an_attempt_too() -> None:
    async def main() -> None:
        async with asking([5.0]) as (asker, server):
            task = asyncio.ensure_future(asker.ask())
            await server.has_been_asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert [each.error for each in asker.attempts] == ["cancelled"]

    run(main())


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/v1", "http://[::1", "http://", "http://exa mple/v1"])
def test_an_address_that_cannot_be_is_a_failure_with_a_class(url: str) -> None:
    async def main() -> None:
        clock = ManualClock()
        asker = Asker(url, clock=clock)
        task = asyncio.ensure_future(asker.fails())
        while not task.done():
            await asyncio.wait({task}, timeout=0.01)
            clock.jump()
        await asker.close()
        assert isinstance(task.result(), ModelFailed)

    run(main())
