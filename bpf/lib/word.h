/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the words that a hook decides by, and the reading of `pods` and
 * `addresses`, which consist of them. Knows no decision.
 *
 * The kernel reuses a hash element as soon as its key is replaced or deleted, also under a reader,
 * and writes it by whatever memcpy the machine has, down to single bytes. So the tag of a word is
 * made of the key and of the number: a word that is another key's, or half written, does not bear
 * out its own number. Such a one, and a missing one, is looked up once more.
 */
#ifndef WEFT_WORD_H
#define WEFT_WORD_H

#include <weft/maps.h>
#include <stdbool.h>

/* Lookups before a key counts as absent. One may fail for a key that is there: its element has
 * become another key's, or is just becoming it, when the kernel's own lookup passes it by. That is
 * one in some 100,000 under a writer that never rests, and one in fifty where software emulates the
 * CPUs, so that four of them still lost one verdict in ten million there. */
#define WORD_TRIES 8

/* Between finding an element and reading it. The proof of tearing makes this long. */
#ifndef WORD_PAUSE
#define WORD_PAUSE()
#endif

/* What a number adds to the tag of its key: odd, so that no two numbers add the same.
 * daemon/compile/word.ts spells it too, and a test holds the two together. */
#define WORD_MIX 0x85ebca6b

/* What a pod's key puts into the tags of its words. */
static __always_inline __u32 tag_of_cookie(__u64 cookie)
{
	return (__u32)cookie;
}

/* What an address puts into the tags of its words; daemon/compile/word.ts spells it too. */
static __always_inline __u32 tag_of_address(const __be32 *address)
{
	__u32 tag = 0;

	for (int i = 0; i < 4; i++) {
		tag = (tag ^ address[i]) * 0x9e3779b1;
		tag ^= tag >> 15;
	}
	return tag;
}

/* Reads a word once. False when it belongs to another key or is half written. */
static __always_inline bool read_word(const struct word *word, __u32 tag, __u32 *number)
{
	__u64 whole = *(const volatile __u64 *)word;
	struct word value;

	__builtin_memcpy(&value, &whole, sizeof(value));
	*number = value.number;
	return value.tag == tag + value.number * WORD_MIX;
}

/* struct pod, taken out of the map. */
struct pod_numbers {
	__u32 guard;
	__u32 workload;
	__u32 service;
	__u32 namespace;
	__u32 flags; /* enum pod_flag */
};

/* The numbers of an enrolled namespace. False, and all of them 0, when there is none. */
static __always_inline bool read_pod(__u64 cookie, struct pod_numbers *numbers)
{
	__u32 tag = tag_of_cookie(cookie);
	const struct pod *pod;
	bool own;

	for (int i = 0; i < WORD_TRIES; i++) {
		pod = bpf_map_lookup_elem(&pods, &cookie);
		if (!pod)
			continue;
		WORD_PAUSE();
		own = read_word(&pod->guard, tag, &numbers->guard);
		own &= read_word(&pod->workload, tag, &numbers->workload);
		own &= read_word(&pod->service, tag, &numbers->service);
		own &= read_word(&pod->namespace, tag, &numbers->namespace);
		own &= read_word(&pod->flags, tag, &numbers->flags);
		if (own)
			return true;
	}
	*numbers = (struct pod_numbers){};
	return false;
}

/* struct known_address, taken out of the map. */
struct address_numbers {
	__u32 workload;
	__u32 identity;
	__u32 frontend; /* index */
	__u32 flags;	/* enum address_flag */
	__u32 waypoint; /* number, 0: none */
};

enum asked {
	ASKED_ABSENT, /* no element was found */
	ASKED_KNOWN,
	ASKED_TORN, /* one was, and it is another key's by now, or half written */
};

/* Asks once what is known of an address. */
static __always_inline enum asked ask_address(const __be32 *address,
					      struct address_numbers *numbers)
{
	__u32 tag = tag_of_address(address), frontend;
	const struct known_address *known;
	struct address_key key;
	bool own;

	key.address[0] = address[0];
	key.address[1] = address[1];
	key.address[2] = address[2];
	key.address[3] = address[3];
	known = bpf_map_lookup_elem(&addresses, &key);
	if (!known)
		return ASKED_ABSENT;
	WORD_PAUSE();
	own = read_word(&known->workload, tag, &numbers->workload);
	own &= read_word(&known->identity, tag, &numbers->identity);
	own &= read_word(&known->frontend, tag, &frontend);
	own &= read_word(&known->waypoint, tag, &numbers->waypoint);
	numbers->frontend = frontend >> FRONTEND_SHIFT;
	numbers->flags = frontend & ((1 << FRONTEND_SHIFT) - 1);
	return own ? ASKED_KNOWN : ASKED_TORN;
}

/* Who owns an address. False, with no workload and no identity, when nobody does. */
static __always_inline bool read_owner(const __be32 *address, struct address_numbers *numbers)
{
	for (int i = 0; i < WORD_TRIES; i++) {
		if (ask_address(address, numbers) == ASKED_KNOWN)
			return numbers->workload;
	}
	*numbers = (struct address_numbers){};
	return false;
}

#endif
