/* What a program finds in its environment when `brakectl exec` started it, and what brakectl's exit
 * codes mean to the program that started brakectl. For programs outside this repository: plain C89.
 *
 * The variables hold for the process and for all that it starts; a nested `brakectl exec` replaces
 * them by those of its own run. */
#ifndef BRAKEWIRE_ENVIRONMENT_H
#define BRAKEWIRE_ENVIRONMENT_H

/* W3C baggage for the runs below this one, the same value as the HTTP header of that name:
 * https://www.w3.org/TR/baggage/ */
#define BRAKEWIRE_ENV_BAGGAGE "BAGGAGE"
/* Socket of the agentd that holds this run, a path. */
#define BRAKEWIRE_ENV_AGENTD "BRAKEWIRE_AGENTD"
/* This run and its tree, run ids of 1..64 characters. */
#define BRAKEWIRE_ENV_RUN_ID "BRAKEWIRE_RUN_ID"
#define BRAKEWIRE_ENV_ROOT   "BRAKEWIRE_ROOT"
/* Decimal; ack, end, fence and links want it. */
#define BRAKEWIRE_ENV_EPOCH "BRAKEWIRE_EPOCH"
/* Secret: the bearer token with which this process may speak for the run. */
#define BRAKEWIRE_ENV_TOKEN "BRAKEWIRE_TOKEN"
/* Marks every process of the run's tree, so that none escapes by a double fork. Leave it alone. */
#define BRAKEWIRE_ENV_RUN_TOKEN "BRAKEWIRE_RUN_TOKEN"

/* Of the command given with --on-cancel only: what the cancel object says. */
#define BRAKEWIRE_ENV_CANCEL_ID     "BRAKEWIRE_CANCEL_ID"
#define BRAKEWIRE_ENV_CANCEL_ACTION "BRAKEWIRE_CANCEL_ACTION" /* interrupt, rollback */
#define BRAKEWIRE_ENV_CANCEL_REASON "BRAKEWIRE_CANCEL_REASON"
#define BRAKEWIRE_ENV_CANCEL_BY     "BRAKEWIRE_CANCEL_BY"

/* `brakectl exec` ends with its command's own code, or with one of these. */
#define BRAKEWIRE_EXIT_NOT_STARTED 3   /* the run was refused: the command never ran */
#define BRAKEWIRE_EXIT_UNAVAILABLE 75  /* no agentd answers, or not now: try again (EX_TEMPFAIL) */
#define BRAKEWIRE_EXIT_CANCELLED   143 /* the run was cancelled */

#endif
