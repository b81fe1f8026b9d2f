/* The protocol of docs/PROTOCOL.md, small enough that every history of it can be tried.
 *
 * One tree of three runs (ROOT, its CHILD, the GRANDCHILD), four lives of clients that carry them
 * (AGAIN is a second life of CHILD that adopts it while the first goes on), two agentds, one broker,
 * one Redis. A user cancels BROKER_TARGET at the broker, ROOT's client cancels CHILD at its agentd.
 * Any message may be lost; one connection is cut, perhaps before an answer; one agentd freezes, is
 * started anew without its memory, or goes with its whole pod; Redis fails over once and loses what
 * it wrote since some moment.
 *
 * Every script is one step, as in Redis, and its answer belongs to the step: answers and messages
 * share one connection that keeps their order, so nothing can be heard in between. A request that
 * got lost is one that was never sent. A periodic reconcile that finds nothing is no step.
 *
 * Promised, as assertions:
 *
 *   closed      no start is written below a cancel that Redis has                  (script_start)
 *   final       what is over is never written again                                (set_state)
 *   recorded    who was stopped by a cancel, or ends below one, ends as cancelled  (script_end, end)
 *   contained   nobody is stopped without a cancel, another life or a lost lease   (stop_life)
 *   empty       at rest, nobody lives in a cancelled scope                         (judge)
 *   one_life    at rest, no run has two lives                                      (judge)
 *   agreed      at rest, who lives is live in Redis, in this life and epoch; who
 *               is dead is over there                                              (judge)
 *
 * "At rest" is a promise about every future: the model has no cycle (check.sh looks for one), so each
 * history comes to rest, and there judge looks. Each macro WITHOUT_... leaves out one rule of
 * the protocol; check.sh expects that each is found. CRASH, CUT, FAILOVER and ADOPTION bring the
 * trouble of these names (ONLY: one kind of CRASH); NO_CANCELS: then nobody is stopped but by trouble.
 * With CRASH and FAILOVER both happen in every history, in either order and at any moment: those
 * with one of them are another search.
 *
 * What no longer matters is put back to what it was, so that histories meet again in one state: the
 * owner of what is over, a message that would tell nobody anything, what a sweep saw and is not so
 * any more, an end that no Redis can forget again. A copy is taken just before a write, for between
 * two writes all moments are the same. Without that the same search is more than six times larger.
 */
#ifndef BROKER_TARGET
#define BROKER_TARGET ROOT
#endif
#define AGENTD_TARGET CHILD
#define FREEZE 1 /* kinds of CRASH, for ONLY */
#define RESTART 2
#define POD_GONE 3

#define ROOT 0
#define CHILD 1
#define GRANDCHILD 2
#define AGAIN 3
#define NOBODY 7

#define RUN(l) ((l) == AGAIN -> CHILD : (l))
#define HOME(l) ((l) == CHILD -> 1 : 0) /* the agentd that carries this life */
#define BIT(r) (1 << (r))
#define PATH(r) ((2 << (r)) - 1)        /* the run and all above it, as bits */

/* ---- what Redis holds ---------------------------------------------------------------------- */
#define ABSENT 0
#define NEVER 1
#define RUNNING 2
#define STOPPING 3
#define SUCCESS 4
#define CANCELLED 5
#define LOST 6
#define IS_LIVE(s) ((s) == RUNNING || (s) == STOPPING)
#define IS_OVER(s) ((s) >= SUCCESS)

typedef tree {
    byte state[3];
    byte epoch[3];
    byte owner[3];   /* replica id */
    bit second_life; /* the incarnation of CHILD */
    byte cancelled;  /* banned by a cancel, as bits */
    byte lost        /* banned because their replica was gone */
};
tree redis;
hidden tree nothing;
tree copy; /* what another server has, since nothing is copied to it any more */
bit has_copy, generation;

#define STATE redis.state[RUN(l)]
#define EPOCH redis.epoch[RUN(l)]
#define IS_SAME_LIFE (RUN(l) != CHILD || redis.second_life == (l == AGAIN))
#define BANS (redis.cancelled | redis.lost)
#ifdef WITHOUT_ANCESTORS
#define BANNED(r) ((BANS & BIT(r)) != 0)
#else
#define BANNED(r) ((BANS & PATH(r)) != 0)
#endif

/* ---- what the others hold ------------------------------------------------------------------ */
#define UNBORN 0
#define ASKED 1   /* heard that another life has the run; adopts it next */
#define BACK 2    /* lives, and its new agentd has not heard of it */
#define ALIVE 3
#define DEAD 4    /* its end is still to be said */
#define ENDED 5   /* Redis has its end; said again when Redis forgets */
#define SETTLED 6 /* dead or refused, and nothing is left to say */
#define LIVES(l) (life[l] == BACK || life[l] == ALIVE)

byte life[4];
byte epoch_of[4];    /* that it was given */
bit confirmed[4];    /* Redis has it, in this generation */
bit by_itself[4];    /* how it ended */
bit may_end[4];

bit is_down[2], was_down[2], is_gone[2], linked[2], generation_of[2];
byte replica[2];                          /* id; odd ones are of the second agentd */
byte held[2], held_confirmed[2], hint[2]; /* cancels, as bits; hint: a message on its way */

bit asked_broker, asked_agentd, broker_confirmed;
byte ever_lost; /* what was declared lost, as bits */
byte seen = NOBODY, seen_epoch, seen_owner;
bit seen_life;
bit crashes_left, cuts_left;

mtype = { started, already, exists, refused, over, adopted, stop, fenced, behind, ended,
          not_cancelled, unknown };
hidden mtype verdict; /* of the script just now */

/* ---- stopping ------------------------------------------------------------------------------ */
mtype = { by_ban, by_over, by_fence, forgotten };

#define WAS_ASKED(r) ((asked_broker && (PATH(r) & BIT(BROKER_TARGET))) \
                      || (asked_agentd && (PATH(r) & BIT(AGENTD_TARGET))))
#ifdef WITHOUT_LOST_AGAIN
#define MAY_SAY_AGAIN false
#else
#define MAY_SAY_AGAIN true
#endif
#ifdef FAILOVER
#define MAY_FORGET (!generation)
#else
#define MAY_FORGET false
#endif
#define HAS_TWO_LIVES(r) (r == CHILD && life[CHILD] >= ALIVE && life[AGAIN] >= ASKED)

inline settle_life(l) /* what no longer matters is put back: fewer states */
{
    life[l] = SETTLED;
    epoch_of[l] = 0;
    confirmed[l] = 0;
    by_itself[l] = 0;
    may_end[l] = 0
}

inline stop_life(l, why)
{
    if
    :: life[l] == ALIVE ->
        printf("life %d is stopped: %e\n", l, why);
        assert(why != by_ban || WAS_ASKED(RUN(l)) || (PATH(RUN(l)) & ever_lost)); /* contained */
        assert(why != by_over || was_down[HOME(l)] || HAS_TWO_LIVES(RUN(l)));
        assert(why != by_fence || HAS_TWO_LIVES(RUN(l)));
        assert(why != forgotten);
        may_end[l] = 0;
        if
        :: why == by_ban -> life[l] = DEAD
        :: why == by_over && STATE == LOST && MAY_SAY_AGAIN && MAY_FORGET -> life[l] = ENDED
        :: else -> settle_life(l)
        fi
    :: else
    fi
}

inline tell_scope(a, bits)
{
    if
    :: a == 0 ->
        if :: PATH(ROOT) & (bits) -> stop_life(ROOT, by_ban) :: else fi;
        if :: PATH(GRANDCHILD) & (bits) -> stop_life(GRANDCHILD, by_ban) :: else fi;
        if :: PATH(CHILD) & (bits) -> stop_life(AGAIN, by_ban) :: else fi
    :: else ->
        if :: PATH(CHILD) & (bits) -> stop_life(CHILD, by_ban) :: else fi
    fi
}

/* ---- a copy that stays behind -------------------------------------------------------------- */
inline copy_run(to, from, r)
{
    to.state[r] = from.state[r];
    to.epoch[r] = from.epoch[r];
    to.owner[r] = from.owner[r]
}

inline copy_tree(to, from)
{
    copy_run(to, from, ROOT);
    copy_run(to, from, CHILD);
    copy_run(to, from, GRANDCHILD);
    to.second_life = from.second_life;
    to.cancelled = from.cancelled;
    to.lost = from.lost
}

/* Each script that writes says so first: this and what follows may be what a failover loses. It is
 * the only moment that matters: what is copied between two writes is the same. */
inline writes()
{
#ifdef FAILOVER
    if
    :: !has_copy && !generation ->
        printf("from here on nothing is copied\n");
        has_copy = 1;
        copy_tree(copy, redis)
    :: true
    fi
#else
    skip
#endif
}

/* ---- the scripts --------------------------------------------------------------------------- */
#define HAS_CHANGED(r) (redis.epoch[r] != seen_epoch || redis.owner[r] != seen_owner \
                        || (r == CHILD && redis.second_life != seen_life))
#ifdef WITHOUT_COMPARE_AND_SET
#define LOST_IS_LATE !IS_LIVE(redis.state[seen])
#else
#define LOST_IS_LATE (!IS_LIVE(redis.state[seen]) || HAS_CHANGED(seen))
#endif

inline forget_look()
{
    seen = NOBODY;
    seen_epoch = 0;
    seen_owner = 0;
    seen_life = 0
}

/* What a sweep saw, and is not so any more: it would do nothing. */
inline look_again()
{
    if :: seen != NOBODY && LOST_IS_LATE -> forget_look() :: else fi
}

inline set_state(r, s)
{
    assert(!IS_OVER(redis.state[r])); /* final */
    redis.state[r] = s;
    if :: IS_OVER(s) -> redis.owner[r] = 0 :: else fi;
    look_again()
}

inline carry(a, l, epoch_now)
{
    EPOCH = epoch_now;
    redis.owner[RUN(l)] = replica[a];
    if :: RUN(l) == CHILD -> redis.second_life = (l == AGAIN) :: else fi;
    look_again()
}

inline publish(target) /* to whoever is linked, or it is lost */
{
    if :: linked[0] -> hint[0] = hint[0] | BIT(target) :: true fi;
    if :: linked[1] -> hint[1] = hint[1] | BIT(target) :: true fi
}

inline script_cancel(target)
{
    if
    :: redis.cancelled & BIT(target) /* already */
    :: else ->
        writes();
        printf("redis: run %d is cancelled\n", target);
        redis.cancelled = redis.cancelled | BIT(target);
        if
        :: redis.state[target] == ABSENT -> redis.state[target] = NEVER
        :: redis.state[target] == RUNNING -> redis.state[target] = STOPPING
        :: else
        fi;
        publish(target)
    fi
}

#ifdef WITHOUT_TOMBSTONE
#define IS_REFUSED false
#else
#define IS_REFUSED BANNED(RUN(l))
#endif

inline script_start(a, l)
{
    if
    :: IS_LIVE(STATE) && IS_SAME_LIFE ->
        writes();
        redis.owner[RUN(l)] = replica[a];
        look_again();
        verdict = already
    :: IS_LIVE(STATE) && !IS_SAME_LIFE -> verdict = exists
    :: IS_OVER(STATE) -> verdict = over
    :: STATE <= NEVER && IS_REFUSED -> verdict = refused
    :: STATE <= NEVER && !IS_REFUSED ->
        assert(!(redis.cancelled & PATH(RUN(l)))); /* closed */
        writes();
        set_state(RUN(l), RUNNING);
        carry(a, l, 1);
        verdict = started
    fi;
    printf("agentd %d: start of life %d: %e\n", a, l, verdict)
}

inline settle_start(l, word)
{
    if
    :: BANNED(RUN(l)) -> STATE = STOPPING; verdict = stop
    :: else -> verdict = word
    fi
}

inline script_adopt(a, l)
{
    if
    :: STATE <= NEVER -> verdict = unknown
    :: IS_OVER(STATE) -> verdict = over
    :: IS_LIVE(STATE) && IS_SAME_LIFE -> writes(); carry(a, l, EPOCH); settle_start(l, adopted)
    :: IS_LIVE(STATE) && !IS_SAME_LIFE && EPOCH != 1 -> verdict = fenced
    :: IS_LIVE(STATE) && !IS_SAME_LIFE && EPOCH == 1 -> writes(); carry(a, l, 2); settle_start(l, adopted)
    fi;
    printf("agentd %d: life %d adopts: %e\n", a, l, verdict)
}

#ifdef WITHOUT_EPOCH_IN_ASSERT
#define IS_FENCED false
#else
#define IS_FENCED (IS_LIVE(STATE) && !IS_SAME_LIFE && EPOCH >= epoch_of[l])
#endif

inline script_assert(a, l)
{
    if
    :: IS_OVER(STATE) -> verdict = over
    :: !IS_OVER(STATE) && IS_FENCED -> verdict = fenced
    :: !IS_OVER(STATE) && !IS_FENCED ->
        writes();
        if :: !IS_LIVE(STATE) -> set_state(RUN(l), RUNNING) :: else fi;
#ifndef WITHOUT_EPOCH_IN_ASSERT
        if :: EPOCH > epoch_of[l] -> carry(a, l, EPOCH) :: else -> carry(a, l, epoch_of[l]) fi;
#else
        carry(a, l, epoch_of[l]);
#endif
        settle_start(l, adopted)
    fi;
    printf("agentd %d: life %d is asserted: %e\n", a, l, verdict)
}

#ifdef WITHOUT_EPOCH_IN_RECONCILE
#define EPOCH_DIFFERS false
#else
#define EPOCH_DIFFERS (STATE >= RUNNING && EPOCH != epoch_of[l])
#endif
#define RECONCILE_FINDS_NEWS (!IS_LIVE(STATE) || EPOCH_DIFFERS || BANNED(RUN(l)))

inline script_reconcile(l)
{
    if
    :: STATE <= NEVER -> verdict = unknown
    :: EPOCH_DIFFERS -> verdict = (EPOCH < epoch_of[l] -> behind : fenced)
    :: STATE >= RUNNING && !EPOCH_DIFFERS -> verdict = (IS_OVER(STATE) -> over : stop)
    fi;
    printf("reconcile finds for life %d: %e\n", l, verdict)
}

#ifdef WITHOUT_ANCESTORS_IN_END
#define END_IS_BANNED ((BANS & BIT(RUN(l))) != 0)
#else
#define END_IS_BANNED BANNED(RUN(l))
#endif
#ifdef WITHOUT_FIRST_WRITER
#define END_IS_LATE false
#else
#define END_IS_LATE IS_OVER(STATE)
#endif

inline script_end(l)
{
    if
    :: STATE <= NEVER -> verdict = unknown
    :: END_IS_LATE -> verdict = already
    :: STATE >= RUNNING && !END_IS_LATE && epoch_of[l] < EPOCH -> verdict = fenced
    :: STATE >= RUNNING && !END_IS_LATE && epoch_of[l] >= EPOCH ->
        if
        :: END_IS_BANNED -> writes(); set_state(RUN(l), CANCELLED); verdict = ended
        :: !END_IS_BANNED && by_itself[l] ->
            assert(!(redis.cancelled & PATH(RUN(l)))); /* recorded */
            writes();
            set_state(RUN(l), SUCCESS);
            verdict = ended
        :: !END_IS_BANNED && !by_itself[l] -> verdict = not_cancelled
        fi
    fi;
    printf("end of life %d: %e\n", l, verdict)
}

/* ---- what an agentd makes of the answers --------------------------------------------------- */
inline hang_up(a) /* messages on their way are lost */
{
    linked[a] = 0;
    hint[a] = 0
}

/* The script was carried out, and nobody hears of it. */
#define ANSWER_IS_LOST(a) cuts_left -> cuts_left = 0; hang_up(a); printf("its answer is lost\n")

inline hear_bans(a, l) /* nothing held is ever taken back */
{
    held[a] = held[a] | (redis.cancelled & PATH(RUN(l)));
    held_confirmed[a] = held_confirmed[a] | (redis.cancelled & PATH(RUN(l)))
}

/* A message that would tell nobody anything is as good as heard. */
#define IS_ALIVE_IN(l, bits) (life[l] == ALIVE && (PATH(RUN(l)) & (bits)))
#define TELLS_NOBODY(a, bits) (((bits) & held_confirmed[a]) \
    && (a == 1 -> !IS_ALIVE_IN(CHILD, bits) \
                : !(IS_ALIVE_IN(ROOT, bits) || IS_ALIVE_IN(GRANDCHILD, bits) || IS_ALIVE_IN(AGAIN, bits))))

inline hush(a)
{
    if :: TELLS_NOBODY(a, BIT(ROOT)) -> hint[a] = hint[a] & ~BIT(ROOT) :: else fi;
    if :: TELLS_NOBODY(a, BIT(CHILD)) -> hint[a] = hint[a] & ~BIT(CHILD) :: else fi
}

inline confirm(a, l)
{
    confirmed[l] = 1;
    if :: EPOCH > epoch_of[l] -> epoch_of[l] = EPOCH :: else fi;
    if
    :: BANNED(RUN(l)) -> hear_bans(a, l); stop_life(l, by_ban); hush(a)
    :: else
    fi
}

/* Not protected. What Redis may have is not refused but told: somebody must end it. */
inline begin_without_redis(a, l)
{
    printf("agentd %d: life %d begins without Redis\n", a, l);
    life[l] = ALIVE;
    if :: epoch_of[l] == 0 -> epoch_of[l] = 1 :: else fi;
    tell_scope(a, held[a] & PATH(RUN(l)))
}

inline begin(a, l)
{
    life[l] = ALIVE;
    confirm(a, l)
}

inline start(a, l)
{
    script_start(a, l);
    if
    :: ANSWER_IS_LOST(a); begin_without_redis(a, l)
    :: verdict == started || verdict == already -> begin(a, l)
    :: verdict == exists && l == AGAIN && life[l] == UNBORN -> life[l] = ASKED
    :: verdict == refused || verdict == over -> settle_life(l)
    :: verdict == exists && (l != AGAIN || life[l] != UNBORN) -> settle_life(l) /* told so: stops */
    fi
}

inline adopt(a, l)
{
    script_adopt(a, l);
    if
    :: ANSWER_IS_LOST(a); begin_without_redis(a, l)
    :: verdict == adopted || verdict == stop -> begin(a, l)
    :: verdict == unknown || verdict == over || verdict == fenced -> settle_life(l)
    fi
}

/* The life before still stands in the epoch that this one, begun without Redis, goes on from. */
#define IS_FREE (l == AGAIN && life[l] == ALIVE && EPOCH == epoch_of[l])

inline say_run(a, l)
{
    script_assert(a, l);
    if
    :: verdict == fenced && IS_FREE -> script_adopt(a, l)
    :: else
    fi;
    if
    :: ANSWER_IS_LOST(a)
    :: verdict == adopted || verdict == stop -> confirm(a, l)
    :: verdict == over ->
        stop_life(l, by_over);
        if :: life[l] != ENDED -> settle_life(l) :: else fi
    :: verdict == fenced -> stop_life(l, by_fence); settle_life(l)
    fi
}

inline reconcile(a, l)
{
    script_reconcile(l);
    if
    :: verdict == stop -> confirm(a, l)
    :: verdict == behind -> confirmed[l] = 0
    :: verdict == over -> stop_life(l, by_over)
    :: verdict == fenced -> stop_life(l, by_fence)
    :: verdict == unknown -> stop_life(l, forgotten)
    fi
}

inline say_end(a, l)
{
    script_end(l);
    if
    :: ANSWER_IS_LOST(a)
    :: verdict == ended || verdict == already ->
        if :: MAY_FORGET -> life[l] = ENDED :: else -> settle_life(l) fi
    :: verdict == unknown -> confirmed[l] = 0
    :: verdict == fenced -> settle_life(l)
    :: verdict == not_cancelled ->
        assert(!(held[a] & PATH(RUN(l)))); /* recorded: what holds here was said before */
        by_itself[l] = 1
    fi
}

inline say_cancel(a, target)
{
    script_cancel(target);
    if
    :: ANSWER_IS_LOST(a)
    :: held_confirmed[a] = held_confirmed[a] | BIT(target); hush(a)
    fi
}

/* ---- an agentd ----------------------------------------------------------------------------- */
#define UNSAID_CANCELS(a) (held[a] & ~held_confirmed[a])

inline forget_confirmation(l)
{
    confirmed[l] = 0;
    if :: life[l] == ENDED -> life[l] = DEAD :: else fi
}

inline forget_confirmations(a)
{
    held_confirmed[a] = 0;
    if
    :: a == 0 ->
        forget_confirmation(ROOT);
        forget_confirmation(GRANDCHILD);
        forget_confirmation(AGAIN)
    :: else -> forget_confirmation(CHILD)
    fi
}

proctype agentd(byte a)
{
end:
    do
    :: atomic {
        hint[a] && !is_down[a] ->
        printf("agentd %d hears of %d\n", a, hint[a]);
        held[a] = held[a] | hint[a];
        held_confirmed[a] = held_confirmed[a] | hint[a];
        hint[a] = 0;
        tell_scope(a, held[a])
    }
    :: atomic { UNSAID_CANCELS(a) & BIT(ROOT) && linked[a] && !is_down[a] -> say_cancel(a, ROOT) }
    :: atomic { UNSAID_CANCELS(a) & BIT(CHILD) && linked[a] && !is_down[a] -> say_cancel(a, CHILD) }
    :: atomic {
        !linked[a] && !is_down[a] ->
        printf("agentd %d: link up\n", a);
        linked[a] = 1;
#ifndef WITHOUT_ASSERTION_AFTER_LOSS
        if :: generation_of[a] != generation -> forget_confirmations(a) :: else fi;
#endif
        generation_of[a] = generation
    }
    :: atomic { /* out of its freeze, or its next life has begun */
        is_down[a] && !is_gone[a] ->
        printf("agentd %d is back\n", a);
        is_down[a] = 0
    }
    od
}

/* ---- a life of a client, through its agentd ------------------------------------------------ */
#define A HOME(l)
#define IS_UP (!is_down[A])
#define IS_LINKED (linked[A] && !is_down[A])
#define IS_UNSAID(l) (life[l] == ALIVE && !confirmed[l])
#define CANCELS_ARE_SAID (held[A] == held_confirmed[A])
#define PARENTS_ARE_SAID (l == CHILD || ((l == ROOT || !IS_UNSAID(ROOT)) \
                                         && (l != GRANDCHILD || !IS_UNSAID(AGAIN))))
#define RUNS_ARE_SAID (l == CHILD || !(IS_UNSAID(ROOT) || IS_UNSAID(GRANDCHILD) || IS_UNSAID(AGAIN)))
#ifdef WITHOUT_CANCELS_FIRST
#define END_IS_NEXT RUNS_ARE_SAID
#else
#define END_IS_NEXT (CANCELS_ARE_SAID && RUNS_ARE_SAID)
#endif
#define MAY_BEGIN (l == ROOT || (l == CHILD && life[ROOT] >= ALIVE) \
                   || (l == GRANDCHILD && (life[CHILD] >= ALIVE || life[AGAIN] >= ALIVE)) \
                   || (l == AGAIN && life[CHILD] >= ALIVE))

proctype client(byte l)
{
end:
    do
    :: atomic {
        life[l] == UNBORN && MAY_BEGIN && IS_UP ->
        if
        :: l == AGAIN -> settle_life(l) /* nobody adopts */
        :: held[A] & PATH(RUN(l)) -> settle_life(l) /* refused */
        :: !(held[A] & PATH(RUN(l))) && linked[A] -> start(A, l)
        :: !(held[A] & PATH(RUN(l))) && !linked[A] -> begin_without_redis(A, l)
        fi
    }
    :: atomic { life[l] == ASKED && IS_LINKED -> adopt(A, l) }
    :: atomic { life[l] == ASKED && !linked[A] && IS_UP -> begin_without_redis(A, l) }
    :: atomic { life[l] == BACK && IS_LINKED -> start(A, l) }
    :: atomic { life[l] == BACK && !linked[A] && IS_UP -> begin_without_redis(A, l) }
    /* on every link-up: cancels, runs (parents first), ends */
    :: atomic {
        (IS_UNSAID(l) || (life[l] == DEAD && !confirmed[l])) && IS_LINKED && CANCELS_ARE_SAID &&
            PARENTS_ARE_SAID ->
        say_run(A, l)
    }
    :: atomic { life[l] == DEAD && confirmed[l] && IS_LINKED && END_IS_NEXT -> say_end(A, l) }
#ifndef WITHOUT_RECONCILE
    :: atomic {
        life[l] == ALIVE && confirmed[l] && IS_LINKED && RECONCILE_FINDS_NEWS -> reconcile(A, l)
    }
#endif
    :: atomic {
        life[l] == ALIVE && may_end[l] && IS_UP ->
        may_end[l] = 0;
        if
        :: printf("life %d ends by itself\n", l); by_itself[l] = 1; life[l] = DEAD
        :: true /* it never does */
        fi
    }
    od
}

/* ---- a broker ------------------------------------------------------------------------------ */
#define IS_LEASED(id) (replica[(id) & 1] == (id) && !is_down[(id) & 1])
#define MAY_SWEEP(r) (seen == NOBODY && IS_LIVE(redis.state[r]) && !IS_LEASED(redis.owner[r]))
inline look_at(r)
{
    seen = r;
    seen_epoch = redis.epoch[r];
    seen_owner = redis.owner[r];
    seen_life = (r == CHILD -> redis.second_life : 0)
}

inline script_lost()
{
    if
    :: LOST_IS_LATE
    :: else ->
        printf("broker: run %d is lost\n", seen);
        assert(!HAS_CHANGED(seen)); /* contained */
        writes();
        redis.lost = redis.lost | BIT(seen);
        ever_lost = ever_lost | BIT(seen);
        set_state(seen, LOST)
    fi;
    forget_look()
}

proctype broker()
{
end:
    do
    :: atomic { /* what it has accepted it says until Redis has it */
        !broker_confirmed ->
        asked_broker = 1;
        script_cancel(BROKER_TARGET);
        broker_confirmed = 1
    }
    :: atomic { MAY_SWEEP(ROOT) -> look_at(ROOT) }
    :: atomic { MAY_SWEEP(CHILD) -> look_at(CHILD) }
    :: atomic { MAY_SWEEP(GRANDCHILD) -> look_at(GRANDCHILD) }
    :: atomic { seen != NOBODY -> script_lost() }
    od
}

/* A supervisor cancels its child where it is: what is local stops at once, Redis or not. */
proctype supervisor()
{
end:
    atomic {
        !asked_agentd && !is_down[0] ->
        printf("the supervisor cancels run %d\n", AGENTD_TARGET);
        asked_agentd = 1;
        held[0] = held[0] | BIT(AGENTD_TARGET);
        tell_scope(0, BIT(AGENTD_TARGET))
    }
}

/* ---- trouble ------------------------------------------------------------------------------- */
inline lose_life(l)
{
    confirmed[l] = 0;
    if
    :: is_gone[HOME(l)] -> settle_life(l) /* its process went with the pod */
    :: !is_gone[HOME(l)] && life[l] == ALIVE -> life[l] = BACK
    :: !is_gone[HOME(l)] && (life[l] >= DEAD || life[l] == ASKED) -> settle_life(l)
    :: else
    fi
}

inline lose_memory(a)
{
    if
    :: a == 0 -> lose_life(ROOT); lose_life(GRANDCHILD); lose_life(AGAIN)
    :: else -> lose_life(CHILD)
    fi;
    hang_up(a);
    held[a] = 0;
    held_confirmed[a] = 0;
    generation_of[a] = generation;
    replica[a] = replica[a] + 2
}

inline crash(a)
{
    is_down[a] = 1;
    was_down[a] = 1;
    if
#if !defined(ONLY) || ONLY == FREEZE
    :: printf("agentd %d freezes\n", a)
#endif
#if !defined(ONLY) || ONLY == RESTART
    :: printf("agentd %d crashes\n", a); lose_memory(a)
#endif
#if !defined(ONLY) || ONLY == POD_GONE
    :: printf("the pod of agentd %d is gone\n", a); is_gone[a] = 1; lose_memory(a)
#endif
    fi
}

proctype trouble()
{
end:
    do
#ifdef CRASH
    :: atomic { crashes_left -> crashes_left = 0; if :: crash(0) :: crash(1) fi }
#endif
#ifdef CUT
    :: atomic {
        cuts_left ->
        cuts_left = 0;
        if
        :: linked[0] -> printf("agentd 0: link down\n"); hang_up(0)
        :: linked[1] -> printf("agentd 1: link down\n"); hang_up(1)
        fi
    }
#endif
#ifdef FAILOVER
    :: atomic {
        !generation ->
        printf("redis fails over\n");
        generation = 1;
        if
        :: has_copy -> copy_tree(redis, copy); copy_tree(copy, nothing); has_copy = 0; look_again()
        :: else /* that time all was copied */
        fi;
#ifndef WITHOUT_ASSERTION_AFTER_LOSS
        broker_confirmed = broker_confirmed && !asked_broker;
#endif
        hang_up(0);
        hang_up(1)
    }
#endif
#if !(defined(CRASH) && defined(FAILOVER)) /* else both: with one of them is another search */
    :: break /* enough */
#endif
    od
}

/* ---- at rest ------------------------------------------------------------------------------- */
/* Who was asked at an agentd that then crashed may have to ask again. */
#define MUST_BE_EMPTY(r) ((BANS & PATH(r)) != 0 \
    || (asked_broker && (PATH(r) & BIT(BROKER_TARGET))) \
    || (asked_agentd && !was_down[0] && (PATH(r) & BIT(AGENTD_TARGET))))

inline judge_life(l)
{
    assert(!(LIVES(l) && MUST_BE_EMPTY(RUN(l)))); /* empty */
    assert(!LIVES(l) || (IS_LIVE(STATE) && IS_SAME_LIFE && EPOCH == epoch_of[l])) /* agreed */
}

proctype judge()
{
    atomic {
        timeout ->
        printf("at rest\n");
        judge_life(ROOT);
        judge_life(CHILD);
        judge_life(GRANDCHILD);
        judge_life(AGAIN);
        assert(!(LIVES(CHILD) && LIVES(AGAIN))); /* one_life */
        assert(LIVES(ROOT) || !IS_LIVE(redis.state[ROOT])); /* agreed */
        assert(LIVES(GRANDCHILD) || !IS_LIVE(redis.state[GRANDCHILD]));
        assert(LIVES(CHILD) || LIVES(AGAIN) || !IS_LIVE(redis.state[CHILD]))
    }
}

init
{
    atomic {
        replica[1] = 1;
        linked[0] = 1;
        linked[1] = 1;
        may_end[ROOT] = 1;
        may_end[CHILD] = 1;
#ifdef CRASH
        crashes_left = 1;
#endif
#ifdef CUT
        cuts_left = 1;
#endif
        run agentd(0);
        run agentd(1);
        run client(ROOT);
        run client(CHILD);
        run client(GRANDCHILD);
#ifdef ADOPTION
        run client(AGAIN);
#endif
        run broker();
#ifdef NO_CANCELS
        broker_confirmed = 1;
#else
        run supervisor();
#endif
        run trouble();
        run judge()
    }
}
