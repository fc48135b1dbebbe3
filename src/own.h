/*
 * own.h
 *	  Activities that the worker of an instance runs right after the turn that
 *	  asks for them.
 */
#ifndef DURABLE_OWN_H
#define DURABLE_OWN_H

#include "durable.h"

#include "turn.h"

/* whether the worker is to run what the turn has left open */
extern bool own_follow(const Turn *turn);

#endif
