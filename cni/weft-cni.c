// SPDX-License-Identifier: Apache-2.0
// Owns the CNI plugin: hands what the container runtime asks to weftd, so that a pod is governed
// before it runs. Must not know which pods are, nor how.
//
// CNI 1.1 (github.com/containernetworking/cni/blob/main/SPEC.md), chained: `prevResult` is passed
// on unchanged.

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* Section 5: well-known codes, and those of a plugin's own from 100 on. */
enum {
	UNSUPPORTED_VERSION = 1,
	INVALID_CONFIG = 7,
	TRY_AGAIN = 11,
	NOT_AVAILABLE = 50,
};

/* Seconds for weftd to answer: it asks the API server, which it gives 10. */
#define ANSWER_SECONDS 30
#define DEFAULT_SOCKET "/run/weft/cni.sock"

static const char *const VERSIONS[] = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"};
#define VERSION_COUNT (sizeof(VERSIONS) / sizeof(*VERSIONS))

struct answer {
	/* 0: done. */
	int code;
	char message[512];
};

static void print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

/* Section 5, "Error". The runtime shows `msg` and `details` in the pod's events. */
static int fail(const char *version, int code, const char *message)
{
	print_json(json_pack("{s:s, s:i, s:s, s:s}", "cniVersion", version, "code", code, "msg",
			     code == TRY_AGAIN || code == NOT_AVAILABLE
				 ? "weft cannot govern this pod yet"
				 : "weft-cni cannot work",
			     "details", message));
	return 1;
}

static int print_versions(const char *version)
{
	json_t *supported = json_array();

	for (size_t i = 0; i < VERSION_COUNT; i++)
		json_array_append_new(supported, json_string(VERSIONS[i]));
	print_json(json_pack("{s:s, s:o}", "cniVersion", version, "supportedVersions", supported));
	return 0;
}

static bool is_supported(const char *version)
{
	for (size_t i = 0; i < VERSION_COUNT; i++) {
		if (strcmp(VERSIONS[i], version) == 0)
			return true;
	}
	return false;
}

static const char *env_or_empty(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

/* A connected socket, or -1 with errno. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = ANSWER_SECONDS};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

static bool send_all(int fd, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		text += sent;
		left -= sent;
	}
	return shutdown(fd, SHUT_WR) == 0;
}

/* Bytes read into `text`, which is terminated; -1 with errno. */
static ssize_t receive_all(int fd, char *text, size_t size)
{
	size_t filled = 0;

	while (filled < size - 1) {
		ssize_t got = recv(fd, text + filled, size - 1 - filled, 0);

		if (got < 0)
			return -1;
		if (got == 0)
			break;
		filled += got;
	}
	text[filled] = '\0';
	return filled;
}

/* Whether weftd answered. What keeps it from that is in `answer->message`. */
static bool ask(const char *path, const char *command, struct answer *answer)
{
	static char text[4096];
	json_t *request, *response = NULL;
	const char *message = NULL;
	bool is_answered = false;
	int fd = connect_to(path);

	if (fd < 0) {
		snprintf(answer->message, sizeof(answer->message),
			 "weftd does not answer at %s: %s", path, strerror(errno));
		return false;
	}
	request = json_pack("{s:s, s:s, s:s, s:s}", "command", command, "containerId",
			    env_or_empty("CNI_CONTAINERID"), "netns", env_or_empty("CNI_NETNS"),
			    "args", env_or_empty("CNI_ARGS"));
	char *words = request ? json_dumps(request, JSON_COMPACT) : NULL;

	if (words && send_all(fd, words) && receive_all(fd, text, sizeof(text)) > 0)
		response = json_loads(text, 0, NULL);
	if (response &&
	    json_unpack(response, "{s:i, s:s}", "code", &answer->code, "message", &message) == 0) {
		snprintf(answer->message, sizeof(answer->message), "%s", message);
		is_answered = true;
	} else {
		snprintf(answer->message, sizeof(answer->message),
			 "weftd at %s broke off before it answered", path);
	}
	json_decref(response);
	json_decref(request);
	free(words);
	close(fd);
	return is_answered;
}

/* ADD gives the runtime what the plugins before gave. */
static int pass_on(json_t *config)
{
	print_json(json_incref(json_object_get(config, "prevResult")));
	return 0;
}

static int run(const char *command, const char *version, json_t *config)
{
	const char *socket_path = DEFAULT_SOCKET;
	int fail_open = 0;
	json_error_t wrong;
	struct answer answer = {0};
	bool is_add = strcmp(command, "ADD") == 0;
	bool is_status = strcmp(command, "STATUS") == 0;

	if (json_unpack_ex(config, &wrong, 0, "{s?s, s?b}", "socket", &socket_path, "failOpen",
			   &fail_open) != 0)
		return fail(version, INVALID_CONFIG, wrong.text);
	if (is_add && !json_is_object(json_object_get(config, "prevResult")))
		return fail(version, INVALID_CONFIG,
			    "there is no prevResult: weft-cni comes after the plugin that makes "
			    "the interface");
	/* 1.1: attachments that are left over. weftd sees namespaces end by itself. */
	if (strcmp(command, "GC") == 0)
		return 0;
	if (!is_add && !is_status && strcmp(command, "DEL") != 0 && strcmp(command, "CHECK") != 0)
		return fail(version, INVALID_CONFIG,
			    "CNI_COMMAND is none of ADD, DEL, CHECK, GC, STATUS, VERSION");

	bool is_answered = ask(socket_path, command, &answer);

	/* A pod must be removable whether or not anybody governs. */
	if (strcmp(command, "DEL") == 0)
		return 0;
	if (!is_answered && fail_open) {
		fprintf(stderr, "weft-cni: passes a pod ungoverned (failOpen): %s\n",
			answer.message);
		return is_add ? pass_on(config) : 0;
	}
	if (!is_answered)
		return fail(version, is_status ? NOT_AVAILABLE : TRY_AGAIN, answer.message);
	if (answer.code != 0)
		return fail(version, answer.code, answer.message);
	return is_add ? pass_on(config) : 0;
}

int main(void)
{
	const char *command = env_or_empty("CNI_COMMAND");
	const char *version = "1.0.0";
	json_error_t wrong;
	json_t *config;

	if (*command == '\0') {
		fputs("weft-cni: a CNI plugin, called by the container runtime; 'weftd' installs "
		      "it\n",
		      stderr);
		return 1;
	}
	config = json_loadf(stdin, 0, &wrong);
	json_unpack(config, "{s:s}", "cniVersion", &version);
	if (strcmp(command, "VERSION") == 0)
		return print_versions(version);
	if (!json_is_object(config))
		return fail(version, INVALID_CONFIG,
			    "the configuration on standard input is no JSON object");
	if (!is_supported(version))
		return fail("1.0.0", UNSUPPORTED_VERSION,
			    "cniVersion is none of 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0");
	int status = run(command, version, config);

	json_decref(config);
	return status;
}
