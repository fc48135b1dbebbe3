/*
 * links.h
 *	  The links of the management payload, for the extension and the gateway.
 */
#ifndef DURABLE_LINKS_H
#define DURABLE_LINKS_H

/* the part that follows the URL of an instance; the client replaces the parts in braces */
static const struct
{
	const char *name;
	const char *suffix;
}			links[] = {
	{"statusQueryGetUri", ""},
	{"sendEventPostUri", "/raiseEvent/{eventName}"},
	{"terminatePostUri", "/terminate?reason={text}"},
	{"rewindPostUri", "/rewind?reason={text}"},
	{"purgeHistoryDeleteUri", ""},
	{"restartPostUri", "/restart"},
	{"suspendPostUri", "/suspend?reason={text}"},
	{"resumePostUri", "/resume?reason={text}"},
};

#endif
