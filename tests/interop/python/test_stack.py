"""What the other tests stand on: a run that was registered beside one agentd is cancelled by the
broker, and is told."""

from support.stack import Stack, ask, until


def test_a_run_of_each_agentd_is_seen_by_the_broker_and_cancelled(stack: Stack) -> None:
    for agentd in stack.agentds:
        start = ask(agentd, "POST", "/v1/runs", {"agent": "hello", "entry": True})
        assert start.status == 201
        run, token = start.json["run_id"], start.json["token"]
        cancel = ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"})
        assert cancel.status == 202

        def stopping() -> object:
            seen = ask(agentd, "GET", f"/v1/runs/{run}", token=token).json
            return seen["state"] == "stopping" and seen

        told = until(stopping)
        assert isinstance(told, dict) and told["cancel"]["reason"] == "enough"
