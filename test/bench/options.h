/* SPDX-License-Identifier: Apache-2.0 */
/* Owns the command line that the load programs share. Knows nothing of what they do with it. */
#ifndef WEFT_BENCH_OPTIONS_H
#define WEFT_BENCH_OPTIONS_H

#include <arpa/inet.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct options {
	struct sockaddr_storage address;
	socklen_t address_length;
	double seconds;
	double warmup;
	double rate; /* requests a second; 0: as many as there are answers */
	unsigned int workers;
	unsigned int
	    spread; /* addresses from the given one on, of which each connection takes one */
	bool keep;  /* one connection for all requests of a worker, instead of one each; for the
		       caller to say */
};

static bool set_address(struct options *options, const char *text, long port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&options->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&options->address;

	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)port);
		options->address_length = sizeof(*v4);
		return true;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons((uint16_t)port);
	options->address_length = sizeof(*v6);
	return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
}

/* Reads --address, --port, --workers, --seconds and --warmup, and those of `more`: "n" for
 * --spread, "r" for --rate. False when one is unknown or beyond its bounds; without a port of its
 * own, `port`, and 0 where one has to be given.
 */
static bool parse_options(struct options *options, int argc, char **argv, const char *more,
			  long port, long most_workers)
{
	static const struct option names[] = {
	    {"address", required_argument, NULL, 'a'}, {"port", required_argument, NULL, 'p'},
	    {"workers", required_argument, NULL, 'w'}, {"seconds", required_argument, NULL, 's'},
	    {"warmup", required_argument, NULL, 'u'},  {"spread", required_argument, NULL, 'n'},
	    {"rate", required_argument, NULL, 'r'},    {NULL, 0, NULL, 0},
	};
	const char *address = "::";
	long workers = 1, spread = 1;
	int c;

	*options = (struct options){.seconds = 3, .warmup = 0.2};
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 'a')
			address = optarg;
		else if (c == 'p')
			port = strtol(optarg, NULL, 10);
		else if (c == 'w')
			workers = strtol(optarg, NULL, 10);
		else if (c == 's')
			options->seconds = strtod(optarg, NULL);
		else if (c == 'u')
			options->warmup = strtod(optarg, NULL);
		else if (strchr(more, c) == NULL)
			return false;
		else if (c == 'n')
			spread = strtol(optarg, NULL, 10);
		else
			options->rate = strtod(optarg, NULL);
	}
	options->workers = (unsigned int)workers;
	options->spread = (unsigned int)spread;
	return optind == argc && spread > 0 && spread <= 1 << 24 && port > 0 && port < 65536 &&
	       workers > 0 && workers <= most_workers && options->seconds > 0 &&
	       options->seconds <= 3600 && options->warmup >= 0 && options->warmup <= 60 &&
	       options->rate >= 0 && set_address(options, address, port);
}

#endif
