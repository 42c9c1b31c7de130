package main

import (
	"cmp"
	"math"
)

// A step on one of several ranks, which all do the same at the same time. Three activities share the
// cores of the rank: it computes, loads the next batch, and its thread of MPI sums one bucket after
// the other, each as soon as its gradients are complete. The forward and backward pass go on while
// buckets are summed. The optimiser waits for the last of them.
//
// A sum over R ranks has two exchanges, or one if it is small. In each of them a rank sends R−1
// messages and receives as many; together they carry (R−1)/R of the values away and as many back. Cores
// work for each message and byte, in the kernel and in adding up, and wait while the other rank does.
// Meanwhile the network takes its time for each byte; whichever takes longer decides. A latency comes
// before each exchange, when the thread that asks for messages pauses between two questions, and the
// message itself is under way.

// transport is what sums cost, as measured.
type transport struct {
	ValueBytes int     `json:"value_bytes"`          // of a gradient on the network: 4, or 2 in bfloat16
	Exchange   float64 `json:"exchange_cpu_seconds"` // core seconds for each exchange
	Message    float64 `json:"message_cpu_seconds"`  // core seconds for a message sent and one received
	Byte       float64 `json:"byte_cpu_seconds"`     // core seconds for a byte sent and one received
	Latency    float64 `json:"latency_seconds"`      // of an exchange
	Idle       float64 `json:"byte_idle_seconds"`    // waited for a byte, with nothing to do, even without a network
	Poll       float64 `json:"waiting_cores"`        // cores that a thread takes which waits for messages

	float32s *transport // what sums of anything but gradients cost, if these are in bfloat16
}

// smallSum is up to how many values package mpi sums in one exchange.
const smallSum = 1 << 10

// agreements is how many small sums there are in a step beside those that are measured with it: one, in
// which the ranks agree that all have data.
const agreements = 1

// exchanges returns how many a sum of so many values has.
func (t *transport) exchanges(values int) float64 {
	if values <= smallSum && t.ValueBytes == 4 {
		return 1
	}
	return 2
}

// cost returns the bytes that a rank sends for a sum of so many values over ranks, the core seconds
// that it takes there, and the latency.
func (t *transport) cost(values, ranks int) (bytes, cpu, latency float64) {
	r, exchanges := float64(ranks), t.exchanges(values)
	bytes = 2 * (r - 1) / r * float64(t.ValueBytes*values)
	if exchanges == 1 { // all values go to all
		bytes = (r - 1) * float64(t.ValueBytes*values)
	}
	return bytes, exchanges*(t.Exchange+t.Message*(r-1)) + t.Byte*bytes, exchanges * t.Latency
}

// rankStep is a step of one rank.
type rankStep struct {
	Measured  *measurement // by itself
	Load      float64      // core seconds for loading a batch
	Cores     float64      // that this rank has
	Ranks     int
	Rate      float64 // payload that a rank sends, and receives, bytes/s; may be infinite
	Transport *transport
}

// wire returns how long the network takes for the bytes that a rank sends for a sum. A large message is
// sent when its receiver has agreed. Between two ranks all agree at once. Among more, an agreement stands
// behind a message that the receiver is sending already to a third: an exchange of R−1 messages takes as
// long as R.
func (s *rankStep) wire(bytes float64) float64 {
	t := bytes / s.Rate
	if r := float64(s.Ranks); r > 2 {
		t *= r / (r - 1)
	}
	return t
}

// stepTime is what simulate returns.
type stepTime struct {
	Step   float64 // seconds
	Sum    float64 // of it in sums of gradients
	Wait   float64 // of Sum in which nothing was computed
	Bytes  float64 // sent by the rank
	Hidden float64 // share of Sum without Wait
}

// simulate goes from event to event of a step: a bucket is complete, summed, the batch is loaded.
func (s *rankStep) simulate() stepTime {
	m := s.Measured
	work := max(m.CPU, 1e-12) // core seconds
	demand := min(float64(m.Threads), work/max(m.Step, 1e-12))
	if m.CPU == 0 {
		work, demand = m.Step*float64(m.Threads), float64(m.Threads)
	}
	var x stepTime
	buckets := m.Buckets
	if s.Ranks < 2 {
		buckets = nil
	}
	var least, cpu, latency float64 // left of the bucket that is being summed: seconds, core seconds, seconds
	begun, next := false, 0
	done, load := 0., s.Load // share of the work, core seconds left
	for done < 1 || load > 0 || next < len(buckets) {
		limit := 1. // how far the computation can go
		summing := next < len(buckets) && buckets[next].At <= done
		if next < len(buckets) {
			limit = buckets[len(buckets)-1].At
			if !summing {
				limit = buckets[next].At
			}
		}
		if summing && !begun {
			bytes, c, l := s.Transport.cost(buckets[next].Values, s.Ranks)
			x.Bytes += bytes
			least, cpu, latency, begun = max(s.wire(bytes), c+s.Transport.Idle*bytes), c, l, true
		}
		computing := done < limit
		want := [3]float64{} // cores: computation, sums, loading
		if computing {
			want[0] = demand
		}
		if load > 0 {
			want[2] = float64(m.Threads)
		}
		useful := 0. // of want[1]
		if summing {
			if latency <= 0 && least > 0 {
				useful = cpu / least
			}
			want[1] = useful + s.Transport.Poll*(1-useful)
		}
		got := share(want, s.Cores)
		// The next event.
		dt := math.Inf(1)
		if computing {
			dt = min(dt, (limit-done)*work/got[0])
		}
		if load > 0 {
			dt = min(dt, load/got[2])
		}
		rate := 0. // share of what is left of the bucket, per second
		switch {
		case summing && latency > 0:
			dt = min(dt, latency)
		case summing:
			rate = math.Inf(1)
			if least > 0 {
				rate = 1 / least
			}
			if cpu > 0 {
				rate = min(rate, min(got[1], useful)/cpu)
			}
			dt = min(dt, 1/rate)
		}
		if computing {
			if t := (limit - done) * work / got[0]; t <= dt {
				done = limit
			} else {
				done += dt * got[0] / work
			}
		}
		if load > 0 {
			if load -= dt * got[2]; load < 1e-12 {
				load = 0
			}
		}
		x.Step += dt
		if !summing {
			continue
		}
		x.Sum += dt
		if !computing {
			x.Wait += dt
		}
		if latency > 0 {
			latency = max(0, latency-dt)
			if latency < 1e-12 {
				latency = 0
			}
		} else if left := 1 - rate*dt; left > 1e-9 {
			least, cpu = least*left, cpu*left
		} else {
			begun = false
			next++
		}
	}
	if s.Ranks > 1 {
		_, c, l := cmp.Or(s.Transport.float32s, s.Transport).cost(8*s.Ranks, s.Ranks)
		x.Step += float64(m.SmallSums+agreements) * (l + c/min(1, s.Cores))
	}
	if x.Sum > 0 {
		x.Hidden = 1 - x.Wait/x.Sum
	}
	return x
}

// share divides cores among activities: whoever wants no more than an equal share gets it, and the
// others share the rest.
func share(want [3]float64, cores float64) (got [3]float64) {
	open := 0
	for _, w := range want {
		if w > 0 {
			open++
		}
	}
	for open > 0 {
		part, settled := cores/float64(open), false
		for i, w := range want {
			if w > 0 && got[i] == 0 && w <= part {
				got[i], settled = w, true
				cores -= w
				open--
			}
		}
		if settled {
			continue
		}
		for i, w := range want {
			if w > 0 && got[i] == 0 {
				got[i] = part
			}
		}
		break
	}
	return got
}
