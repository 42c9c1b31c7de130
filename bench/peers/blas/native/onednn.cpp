// oneDNN 2 or 3 behind the protocol of peer.h: a matmul primitive with its
// weights in the layout that the library prefers.
#include <exception>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <unordered_map>

#include "peer.h"

using namespace dnnl;
using tag = memory::format_tag;

static engine cpu(engine::kind::cpu, 0);
static stream queue(cpu);

// A matmul with its arguments. With pack_each, each call packs the weights.
struct product {
	matmul primitive;
	std::unordered_map<int, memory> arguments;
	memory plain, packed;
	bool pack_each = false;

	product(const layer &l, tag weights, bool pack_each) : pack_each(pack_each) {
		auto f32 = memory::data_type::f32;
		memory::desc x({l.m, l.k}, f32, tag::ab), w({l.k, l.n}, f32, weights), stored({l.k, l.n}, f32, tag::ba);
		memory::desc bias({1, l.n}, f32, tag::ab), y({l.m, l.n}, f32, tag::ab);
		primitive_attr attributes;
		if (l.gelu) {
			post_ops post;
#if DNNL_VERSION_MAJOR >= 3
			post.append_eltwise(algorithm::eltwise_gelu_erf, 0, 0);
#else
			post.append_eltwise(1, algorithm::eltwise_gelu_erf, 0, 0);
#endif
			attributes.set_post_ops(post);
		}
#if DNNL_VERSION_MAJOR >= 3
		matmul::primitive_desc pd = l.gelu ? matmul::primitive_desc(cpu, x, w, bias, y, attributes) : matmul::primitive_desc(cpu, x, w, y, attributes);
#else
		matmul::primitive_desc pd(l.gelu ? matmul::desc(x, w, bias, y) : matmul::desc(x, w, y), attributes, cpu);
#endif
		primitive = matmul(pd);
		plain = memory(stored, cpu, l.w);
		packed = plain;
		if (pd.weights_desc() != stored) {
			packed = memory(pd.weights_desc(), cpu);
			reorder(plain, packed).execute(queue, plain, packed);
		}
		arguments = {{DNNL_ARG_SRC, memory(x, cpu, l.x)}, {DNNL_ARG_WEIGHTS, packed}, {DNNL_ARG_DST, memory(y, cpu, l.y)}};
		if (l.gelu) arguments[DNNL_ARG_BIAS] = memory(bias, cpu, l.bias);
		queue.wait();
	}

	static void run(void *p) {
		auto *self = static_cast<product *>(p);
		if (self->pack_each && self->packed.get() != self->plain.get()) reorder(self->plain, self->packed).execute(queue, self->plain, self->packed);
		self->primitive.execute(queue, self->arguments);
		queue.wait();
	}
};

static const char *isa() {
	switch (get_effective_cpu_isa()) {
	case cpu_isa::sse41: return "sse41";
	case cpu_isa::avx: return "avx";
	case cpu_isa::avx2: return "avx2";
	case cpu_isa::avx512_core: return "avx512";
	case cpu_isa::avx512_core_vnni: return "avx512-vnni";
	case cpu_isa::avx512_core_bf16: return "avx512";
	case cpu_isa::avx512_core_amx: return "avx512-amx";
	default: return "other";
	}
}

int main() {
	const version_t *v = dnnl::version();
	hello((std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch)).c_str(), isa());
	layer l;
	try {
		while (read_layer(&l)) {
			// Raw weights are used as they are, or packed at each call, whichever is faster.
			product any(l, tag::any, !l.packed), direct(l, tag::ba, false);
			product *best = &any;
			product::run(&any);
			if (trial(product::run, &direct) < trial(product::run, &any)) best = &direct;
			product::run(best);
			reply(&l, product::run, best);
			free_layer(&l);
		}
	} catch (const std::exception &e) {
		fprintf(stderr, "oneDNN: %s\n", e.what());
		return 1;
	}
	return 0;
}
