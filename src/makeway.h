/*
 * makeway.h
 *	  The engine leaves a database to which a command needs sole access.
 */
#ifndef DURABLE_MAKEWAY_H
#define DURABLE_MAKEWAY_H

extern void makeway_install(void);

#endif
