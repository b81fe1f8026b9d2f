"""The judge from outside. It knows what the harness did, what the agents saw, what is in /proc and,
by docs/PROTOCOL.md, what Redis holds; it believes no daemon.

lost      an accepted cancel of which a run in scope was never told, or did not stop
false     an answer that was not true: complete, stopped, a wrong cancel id, an error where none may be
strange   anything else that must not be: a run touched that nobody cancelled, two terminal states"""

import asyncio
import contextlib
import time

import msgpack

from proc import processes_of_runs

LIVE, TERMINAL = "rs", "SETCBLP"
BANNED, UNRESPONSIVE = 0x1, 0x20
ENDED_BY_A_CANCEL = "CBT"


class Record:
    """`s:<run>`: letter:epoch:flags:incarnation:owner:parent:parent_epoch:children[:finished]"""

    def __init__(self, value):
        part = value.decode().split(":")
        self.letter, self.epoch, self.flags = part[0], int(part[1]), int(part[2])
        self.incarnation, self.owner, self.parent = part[3], part[4], part[5]
        self.finished = part[8] if len(part) > 8 else ""


class Tree:
    """`bw:{root}`"""

    def __init__(self, fields):
        pairs = dict(zip(fields[::2], fields[1::2]))
        self.runs, self.cancels = {}, {}
        self.live = int(pairs.get(b"n", b"0"))
        for name, value in pairs.items():
            if name.startswith(b"s:"):
                self.runs[name[2:].decode()] = Record(value)
            elif name.startswith(b"c:"):
                self.cancels[name[2:].decode()] = msgpack.unpackb(value, raw=False)


class Judge:
    def __init__(self, house, forest):
        self.house, self.forest = house, forest
        self.lost, self.false, self.strange = [], [], []
        self.permitted = set()    # (who, code): refusals that are the right answer here
        self.broken_is_fine = False
        self.redis_forgets = False # then a run may be ended twice, and told by assertion
        self.excused = set()       # runs that a fault itself has ended: lost, or their agent was killed
        self.losable = set()       # runs that may be `L`, as their replica was away for too long
        self.own_reasons = set()   # reasons of bans that the fleet itself may place
        self.ended = set()         # runs that the harness let end by themselves
        self.healed_at = None
        self.versions = (1,)       # of the records that may be there
        self.masters = lambda: [house.redis] # who has the trees, if there are several
        self.seen_letters, self.sampling = {}, None
        self.read_to, self.told, self.ending, self.again_told = 0, {}, {}, {}

    def permit(self, *codes, who=("harness", "agent")):
        self.permitted.update((each, code) for each in who for code in codes)

    def complain(self, about, text):
        if len(about) < 200:
            about.append(text)

    # ---- reading the story -----------------------------------------------------------------

    def read_story(self):
        story = self.house.story
        while self.read_to < len(story):
            event = story[self.read_to]
            self.read_to += 1
            what = event["what"]
            if what == "told":
                self.heard(event)
            elif what in ("ending", "over"):
                self.ending.setdefault(event["run"], event["at"])
            elif what == "answer":
                self.judge_answer(event)
            elif what == "broken" and not self.broken_is_fine:
                self.complain(self.false, f"{event['agent']}: connection to {event['agentd']} broke: "
                                          f"{event['path']} {event['why']}")
        return self.told

    def heard(self, event):
        run = event["run"]
        self.told.setdefault(run, event)
        if event.get("refused"):
            return
        key = (event["agent"], event["stream"], run, event.get("epoch"))
        self.again_told[key] = self.again_told.get(key, 0) + 1
        if self.again_told[key] > 1:
            self.complain(self.strange, f"{run} was told twice on one stream of {event['agent']}")

    def judge_answer(self, event):
        who = "harness" if event["agent"] == "harness" else "agent"
        if event["status"] < 400 or (who, event["code"]) in self.permitted:
            return
        # A run that is told by refusal: that is its notice, and no trouble.
        if event["path"] == "/v1/runs" and event["code"] in ("cancelled", "over", "fenced"):
            return
        self.complain(self.false, f"{event['agent']}: {event['agentd']} answered {event['method']} "
                                  f"{event['path']} with {event['status']} {event['code']} "
                                  f"{event['body'].get('detail', '')}")

    # ---- what must have happened -----------------------------------------------------------

    def accepted(self):
        return [cancel for cancel in self.forest.cancels if cancel.accepted]

    def must_stop(self):
        """run → the earliest accepted cancel that covers it."""
        covered = {}
        implied = [cancel for cancel in self.forest.cancels if cancel.implied]
        for cancel in sorted(self.accepted() + implied, key=lambda c: c.sent_at):
            for run in cancel.target.scope():
                if run.id not in self.ended and run.id is not None:
                    covered.setdefault(run, cancel)
        return covered

    def may_stop(self):
        """Where an answer was lost, nobody knows; where it said `unavailable`, nothing happened."""
        unclear = [c for c in self.forest.cancels
                   if c.broken or (c.answer and c.answer.code == "unknown_outcome")]
        implied = [cancel for cancel in self.forest.cancels if cancel.implied]
        return {run for cancel in unclear + implied + self.accepted() for run in cancel.target.scope()}

    def unsettled(self):
        """In scope, and not yet told or not yet stopped. Empty is what all wait for."""
        self.read_story()
        alive = processes_of_runs()
        missing = []
        for run, cancel in self.must_stop().items():
            if run.id in self.excused or run.agent.dead:
                continue
            if run.pid is not None and run.token in alive:
                missing.append((run, cancel, "its process lives"))
            elif run.pid is None and run.id not in self.told:
                missing.append((run, cancel, "never told"))
            elif run.pid is None and run.id not in self.ending:
                missing.append((run, cancel, "told, but never stopped"))
        return missing

    async def settle(self, within=12.0):
        until = time.monotonic() + within
        while (missing := self.unsettled()) and time.monotonic() < until:
            await asyncio.sleep(0.025)
        for run, cancel, why in missing:
            self.complain(self.lost, f"{run.id} at {run.agent.agentd.name}: {why} "
                                     f"({cancel.target.root}.{cancel.target.id}, {cancel.via})")
        return not missing

    # ---- what Redis holds ------------------------------------------------------------------

    def trees(self, server=None):
        found = {}
        for each in [server] if server else self.masters():
            self.read_trees(each, found)
        return found

    @staticmethod
    def read_trees(server, found):
        cursor = b"0"
        while True:
            cursor, keys = server.ask("SCAN", cursor, "MATCH", "bw:{*}", "COUNT", "1000", "TYPE", "hash")
            for key in keys:
                found[key[4:-1].decode()] = Tree(server.ask("HGETALL", key))
            if cursor == b"0":
                return

    def is_open(self, run, record):
        """Not yet what it must become. The run of a dead agent, without a process that could be
        looked at, is nobody's to end: `unresponsive` is the truth about it."""
        if run.id in self.excused or record.letter not in LIVE:
            return False
        return not (run.agent.dead and run.pid is None and record.flags & UNRESPONSIVE)

    def recorded_unsettled(self, trees):
        return [run for run in self.must_stop() if run.root in trees and run.id in trees[run.root].runs
                and self.is_open(run, trees[run.root].runs[run.id])]

    async def settle_records(self, within=6.0, server=None):
        """An end travels to Redis after the agent has stopped."""
        until = time.monotonic() + within
        while self.recorded_unsettled(self.trees(server)) and time.monotonic() < until:
            await asyncio.sleep(0.05)

    def judge_records(self, server=None):
        trees = self.trees(server)
        covered = self.must_stop()
        for run in covered:
            tree = trees.get(run.root)
            record = tree.runs.get(run.id) if tree else None
            if record is None:
                self.complain(self.lost, f"{run.id}: Redis does not know it")
            elif self.is_open(run, record):
                self.complain(self.lost, f"{run.id}: still `{record.letter}` {record.flags:#x} in Redis")
            elif record.letter not in ENDED_BY_A_CANCEL + LIVE and run.id not in self.excused \
                    and not (record.letter == "L" and run.id in self.losable):
                self.complain(self.false, f"{run.id}: `{record.letter}` in Redis after its cancel")
        for cancel in self.accepted():
            self.judge_record_of(cancel, trees.get(cancel.target.root))
        for root, tree in trees.items():
            self.judge_tree(root, tree)
        self.judge_untouched(trees)

    def judge_record_of(self, cancel, tree):
        target = cancel.target
        record = tree.cancels.get(target.id) if tree else None
        if record is None or not tree.runs[target.id].flags & BANNED:
            self.complain(self.lost, f"{target.root}.{target.id}: accepted, and Redis has no ban")
        elif record[0] not in self.versions or record[1:4] != [1, target.root, target.id]:
            self.complain(self.false, f"{target.root}.{target.id}: its record is {record[:4]}")

    def judge_tree(self, root, tree):
        live = sum(record.letter in LIVE for record in tree.runs.values())
        if tree.live != live:
            self.complain(self.strange, f"{root}: n is {tree.live}, and {live} runs are live")
        asked = {cancel.target.id for cancel in self.forest.cancels}
        for target, record in tree.cancels.items():
            if target not in asked and record[5] not in self.own_reasons:
                self.complain(self.strange, f"{root}.{target}: nobody asked for it ({record[5]})")

    def judge_untouched(self, trees):
        allowed, alive = self.may_stop(), processes_of_runs()
        for run in self.forest.runs:
            if run in allowed or run.id in self.excused or run.agent.dead:
                continue
            record = trees[run.root].runs.get(run.id) if run.root in trees else None
            if run.id in self.ended:
                continue
            if run.id in self.told or run.id in self.ending:
                said = self.told.get(run.id, {})
                self.complain(self.strange, f"{run.id}: nobody cancelled it, and it was told "
                              f"({said.get('refused') or said.get('reason')})")
            elif record is None or record.letter != "r":
                self.complain(self.strange, f"{run.id}: nobody cancelled it, and Redis says "
                              f"{record.letter if record else 'nothing'}")
            elif run.pid is not None and run.token not in alive:
                self.complain(self.strange, f"{run.id}: nobody cancelled it, and its process is dead")

    # ---- while it goes on ------------------------------------------------------------------

    async def sample(self):
        """Terminal states are final: look at all of them, again and again."""
        while True:
            with contextlib.suppress(Exception): # a server that is away is the scenario, not our trouble
                for root, tree in self.trees().items():
                    for run, record in tree.runs.items():
                        self.compare(root, run, record)
            await asyncio.sleep(0.4)

    def compare(self, root, run, record):
        before = self.seen_letters.get((root, run))
        if before in tuple(TERMINAL) and record.letter != before and not self.redis_forgets:
            self.complain(self.strange, f"{run}: first `{before}`, then `{record.letter}`")
        self.seen_letters[root, run] = record.letter

    # ---- what the answers claimed ----------------------------------------------------------

    def stopped_at(self, run):
        """The earliest moment at which it can truly be called stopped; None: it never stopped."""
        moments = [m for m in (self.ending.get(run.id), run.agent.died_at) if m is not None]
        return min(moments, default=None)

    def judge_claims(self):
        for cancel in self.accepted():
            body, target = cancel.answer.body, cancel.target
            if body.get("cancel_id") != f"{target.root}.{target.id}":
                self.complain(self.false, f"{target.id}: answered cancel id {body.get('cancel_id')}")
            if cancel.answer.status == 200 and body.get("wait") == "stopped" and not body.get("complete"):
                self.complain(self.false, f"{target.id}: 200 for a stop that is not complete")
            self.judge_counts(cancel)
            claimed = {self.forest.by_id[name] for name in body.get("names", {}).get("stopped", ())
                       if name in self.forest.by_id}
            if body.get("complete"):
                claimed |= {run for run in target.scope() if run.id is not None}
            for run in claimed:
                if run.id in self.ended or run.id in self.excused:
                    continue
                if run.pid is not None:
                    if run.token in cancel.alive_then:
                        self.complain(self.false, f"{run.id}: called stopped by {cancel.via}, and "
                                                  f"its process {cancel.alive_then[run.token]} lives")
                    continue
                stopped = self.stopped_at(run)
                if stopped is None or stopped > cancel.answered_at:
                    late = "never" if stopped is None else f"{(stopped - cancel.answered_at) * 1000:.1f} ms later"
                    self.complain(self.false, f"{run.id}: called stopped by {cancel.via}, stopped {late}")

    def judge_counts(self, cancel):
        body, counts = cancel.answer.body, cancel.answer.body.get("counts")
        if counts is None:
            return
        open_ones = [word for word in ("pending", "unresponsive", "suspect", "lost", "observed")
                     if counts[word] > 0]
        if body["complete"] and (open_ones or counts["links"] != counts["links_acknowledged"]):
            self.complain(self.false, f"{cancel.target.id}: complete, with {counts}")
        for word in ("stopped", "pending", "unresponsive", "suspect", "lost"):
            names = body["names"][word]
            if len(set(names)) != len(names) or not body["names"]["truncated"] \
                    and len(names) != counts[word]:
                self.complain(self.false, f"{cancel.target.id}: {counts[word]} {word}, and names {names}")

    # ---- the row of the table --------------------------------------------------------------

    def first_asked(self):
        """run → when its stop was first asked for, whatever the answer was."""
        asked = {}
        for cancel in sorted(self.forest.cancels, key=lambda c: c.sent_at):
            for run in cancel.target.scope():
                asked.setdefault(run, cancel.sent_at)
        return asked

    def told_ms(self):
        """From the cancel, or the moment at which the fault was healed, to the notice."""
        found, asked = [], self.first_asked()
        for run in self.must_stop():
            if run.id in self.told and run.id not in self.excused:
                told_at, begin = self.told[run.id]["at"], asked[run]
                if self.healed_at and begin < self.healed_at < told_at:
                    begin = self.healed_at
                found.append(max(0.0, (told_at - begin) * 1000))
        return sorted(found)

    def row(self):
        covered, told, alive = self.must_stop(), self.told_ms(), processes_of_runs()
        stopped = [run for run in covered
                   if (run.token not in alive if run.pid else self.stopped_at(run) is not None)]
        return {"runs": len(self.forest.runs), "cancels": len(self.accepted()),
                "told": sum(run.id in self.told for run in covered), "in_scope": len(covered),
                "stopped": len(stopped), "lost": self.lost, "false": self.false,
                "strange": self.strange,
                "p50": told[len(told) // 2] if told else None,
                "p99": told[int(len(told) * 0.99)] if told else None}
