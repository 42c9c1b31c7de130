// The protocol between the Go program and a library. First this program writes a
// line "VERSION\tVARIANT". For each layer the Go program writes a header and the
// numbers and reads the result; then it sends durations, and reads the number of
// calls and their time for each, until it sends 0.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct layer {
	int32_t m, n, k, packed, gelu;
	float *x, *w, *bias, *y; // [m,k], [n,k], [n], [m,n]
};

static void hello(const char *version, const char *variant) {
	printf("%s\t%s\n", version, variant);
	fflush(stdout);
}

static void read_or_exit(void *p, size_t size, size_t n) {
	if (fread(p, size, n, stdin) != n) {
		fprintf(stderr, "standard input ended early\n");
		exit(1);
	}
}

// Aligned to a cache line, which some libraries need for their best speed.
static float *floats(size_t n) {
	float *p = (float *)aligned_alloc(64, (4 * n + 63) / 64 * 64);
	if (!p) {
		fprintf(stderr, "no memory for %zu numbers\n", n);
		exit(1);
	}
	return p;
}

// Returns 0 at the end of the input.
static int read_layer(struct layer *l) {
	int32_t header[5];
	if (fread(header, sizeof header, 1, stdin) != 1) return 0;
	l->m = header[0], l->n = header[1], l->k = header[2], l->packed = header[3], l->gelu = header[4];
	l->x = floats((size_t)l->m * l->k), l->w = floats((size_t)l->n * l->k);
	l->bias = floats(l->n), l->y = floats((size_t)l->m * l->n);
	read_or_exit(l->x, 4, (size_t)l->m * l->k);
	read_or_exit(l->w, 4, (size_t)l->n * l->k);
	read_or_exit(l->bias, 4, l->n);
	return 1;
}

static void free_layer(struct layer *l) {
	free(l->x), free(l->w), free(l->bias), free(l->y);
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

// The time of the fastest of three calls, in seconds.
static double trial(void (*f)(void *), void *argument) {
	double best = 1e9;
	for (int i = 0; i < 3; i++) {
		double start = now();
		f(argument);
		double took = now() - start;
		if (took < best) best = took;
	}
	return best;
}

// Writes the result, and then times of f for as long as it reads durations.
static void reply(const struct layer *l, void (*f)(void *), void *argument) {
	fwrite(l->y, 4, (size_t)l->m * l->n, stdout);
	fflush(stdout);
	for (;;) {
		double seconds, answer[2] = {0, 0};
		read_or_exit(&seconds, sizeof seconds, 1);
		if (!(seconds > 0)) return;
		double start = now();
		do {
			f(argument);
			answer[0]++;
			answer[1] = now() - start;
		} while (answer[1] < seconds);
		fwrite(answer, sizeof answer, 1, stdout);
		fflush(stdout);
	}
}
