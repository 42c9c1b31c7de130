// OpenBLAS behind the protocol of peer.h. The library is loaded at run time,
// because Debian's package of it has neither headers nor a link for the linker.
#include <dlfcn.h>

#include "peer.h"

enum { row_major = 101, no_transpose = 111, transpose = 112 };

typedef void (*sgemm_function)(int order, int transa, int transb, int m, int n, int k, float alpha, const float *a, int lda,
                               const float *b, int ldb, float beta, float *c, int ldc);
static sgemm_function sgemm;

static void product(void *layer) {
	const struct layer *l = layer;
	sgemm(row_major, no_transpose, transpose, l->m, l->n, l->k, 1, l->x, l->k, l->w, l->k, 0, l->y, l->n);
}

int main(void) {
	void *library = dlopen("libopenblas.so.0", RTLD_NOW);
	if (!library) {
		fprintf(stderr, "%s\n", dlerror());
		return 3;
	}
	sgemm = (sgemm_function)dlsym(library, "cblas_sgemm");
	char *(*config)(void) = (char *(*)(void))dlsym(library, "openblas_get_config");
	char *(*core)(void) = (char *(*)(void))dlsym(library, "openblas_get_corename");
	if (!sgemm || !config || !core) {
		fprintf(stderr, "libopenblas.so.0 has no cblas_sgemm\n");
		return 3;
	}
	char version[64];
	if (sscanf(config(), "OpenBLAS %63s", version) != 1) snprintf(version, sizeof version, "unknown");
	hello(version, core());
	struct layer l;
	while (read_layer(&l)) {
		product(&l);
		reply(&l, product, &l);
		free_layer(&l);
	}
	return 0;
}
