#!/usr/bin/env python3
"""Measures training on several ranks, and its parts by themselves, for bench/plan.

  go build -o /tmp/gomae ./cmd/gomae && go build -o /tmp/plan ./bench/plan && go test -c -o /tmp/mpi.test ./multimae/train/mpi
  python3 bench/ranks.py -gomae /tmp/gomae -plan /tmp/plan -sums /tmp/mpi.test -mpirun mpich/bin/mpirun > ranks.json

The ranks are on one machine, or on network namespaces that stand for hosts, which need root, and
iproute2 with tc. Each rank stays on a core: else those of one host take time from those of another. What is measured takes turns, so that a machine that drifts affects all of it.
Takes about 8 minutes. Figures go to stdout.
"""
import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

BRIDGE = "gomae0"
ARGS = argparse.Namespace()


def sh(line, check=True):
    return subprocess.run(shlex.split(line), check=check, stdout=subprocess.DEVNULL,
                          stderr=None if check else subprocess.DEVNULL)


def up(n):
    """Makes hosts 10.77.0.1 … on one switch."""
    sh(f"ip link add {BRIDGE} type bridge")
    sh(f"ip link set {BRIDGE} up")
    for i in range(1, n + 1):
        sh(f"ip netns add gomae{i}")
        sh(f"ip link add gomaev{i} type veth peer name eth0 netns gomae{i}")
        sh(f"ip link set gomaev{i} master {BRIDGE} up")
        sh(f"ip -n gomae{i} link set lo up")
        sh(f"ip -n gomae{i} addr add 10.77.0.{i}/24 dev eth0")
        sh(f"ip -n gomae{i} link set eth0 up")


def down(n):
    for i in range(1, n + 1):
        sh(f"ip netns del gomae{i}", check=False)
    sh(f"ip link del {BRIDGE}", check=False)


def limit(n, mbit):
    """Sets how much each host sends at most; 0 lifts that. A host that paused may send no more at once
    than in a millisecond, or one packet of the kernel."""
    for i in range(1, n + 1):
        sh(f"tc -n gomae{i} qdisc del dev eth0 root", check=False)
        if mbit:
            burst = max(65536, mbit * 125)
            sh(f"tc -n gomae{i} qdisc add dev eth0 root tbf rate {mbit}mbit burst {burst}b latency 50ms")


def launch(ranks, hosts, folder, *options):
    """Returns how a command line for mpirun begins, and its environment."""
    command = [ARGS.mpirun, *options, "-n", str(ranks)]
    # Go lets a goroutine run for 10 ms where there is one core. The loader would keep the sums waiting
    # that long, which it does on no host with two cores or more.
    env = os.environ | {"GOMAXPROCS": str(os.cpu_count())}
    if not hosts:
        command[1:1] = ["-bind-to", "core"]
        return command, env
    remote = os.path.join(folder, "remote")
    with open(remote, "w", encoding="utf-8") as f:
        f.write('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\n'
                f'host=${{1##*.}}; shift\nexec ip netns exec gomae$host taskset -c $(((host - 1) % {os.cpu_count()})) sh -c "$*"\n')
    os.chmod(remote, 0o755)
    names = ",".join(f"10.77.0.{i}" for i in range(1, hosts + 1))
    command = ["ip", "netns", "exec", "gomae1", ARGS.mpirun, "-launcher", "rsh", "-launcher-exec", remote,
               "-iface", "eth0", "-hosts", names] + command[1:]
    # Else the ranks find out that they share a machine.
    return command, env | {"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp", "MPIR_CVAR_NOLOCAL": "1"}


def train(ranks, workers, hosts, steps, folder):
    """Trains and returns medians of the steps."""
    out = tempfile.mkdtemp(dir=folder)
    with open(os.path.join(folder, "tiny", "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config["train"].update(steps=steps + 2, batch=ARGS.batch, log_every=1, val_every=0, save_every=0, warmup_steps=0)
    path = os.path.join(out, "given.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    run = os.path.join(out, "run")
    gomae, env = [ARGS.gomae, "pretrain", "-config", path, "-workers", str(workers), "-out", run], os.environ
    if ranks > 1:
        command, env = launch(ranks, hosts, folder)
        gomae = command + gomae[:2] + ["-mpi"] + gomae[2:]
    done = subprocess.run(gomae, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env, timeout=300, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(gomae)}: exit code {done.returncode}\n{done.stderr}")
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    lines = [x for x in lines if "lr" in x][2:]
    median = lambda key: statistics.median(x.get(key, 0) for x in lines)
    return {"step_s": ARGS.batch / median("images_per_s"), "sum_s": median("sum_s"), "sum_wait_s": median("sum_wait_s")}


def step(model, ranks, threads, copies, batch, seconds):
    """Lets copies of a rank take steps by themselves at the same time, and returns what each measured."""
    command = [ARGS.plan, "-record", "-model", model, "-machines", str(ranks), "-batch", str(batch), "-seconds", str(seconds)]
    env = os.environ | {"GOMAXPROCS": str(threads)}
    running = [subprocess.Popen(["taskset", "-c", str(i % os.cpu_count()), *command] if copies > 1 else command,
                                stdout=subprocess.PIPE, env=env) for i in range(copies)]
    found = [json.loads(p.communicate()[0]) for p in running]
    if any(p.returncode for p in running):
        sys.exit(f"{shlex.join(command)} failed")
    return found


def sums(ranks, hosts, mbit, values, times, folder):
    """Measures sums by themselves. Returns the figures of rank 0 for each number of values."""
    out = os.path.join(tempfile.mkdtemp(dir=folder), "sums")
    command, env = launch(ranks, hosts, folder, "-outfile-pattern", out + ".%r")
    command += [ARGS.sums, "-test.run", "^$", "-test.benchtime", f"{times}x",
                "-test.bench", f"^Benchmark({'Sum|SumBFloat16' if hosts else 'Sum|Allreduce'})$/^values=({'|'.join(map(str, values))})$"]
    subprocess.run(command, check=True, env=env, timeout=300)
    found = []
    with open(out + ".0", encoding="utf-8") as f:
        for m in re.finditer(r"^Benchmark(\w+)/values=(\d+)/\S+\s+\d+\s+([\d.]+) ns/op.*?([\d.]+) cpu-ns/op", f.read(), re.M):
            found.append({"hosts": hosts > 0, "ranks": ranks, "mbit": mbit, "values": int(m[2]), "by": m[1],
                          "wall_seconds": float(m[3]) / 1e9, "cpu_seconds": float(m[4]) / 1e9})
    return found


def middle(found):
    """Returns the medians of several objects of the same form."""
    if isinstance(found[0], dict):
        return {key: middle([x[key] for x in found]) for key in found[0]}
    if isinstance(found[0], list):
        return [middle(list(x)) for x in zip(*found)]
    if isinstance(found[0], (str, bool)):
        return found[0]
    m = statistics.median(found)
    return int(m) if all(isinstance(x, int) for x in found) else m


def text(line):
    return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-gomae", required=True, help="the command")
    parser.add_argument("-plan", required=True, help="bench/plan")
    parser.add_argument("-sums", required=True, help="the test of multimae/train/mpi")
    parser.add_argument("-mpirun", default="mpirun", help="that of MPICH")
    parser.add_argument("-batch", type=int, default=32, help="images of all ranks together")
    parser.add_argument("-steps", type=int, default=24, help="of each run; with the lowest bandwidth, half as many")
    parser.add_argument("-seconds", type=float, default=2, help="for each step by itself")
    parser.add_argument("-repeat", type=int, default=3)
    parser.add_argument("-hosts", type=int, default=4, help="namespaces; 0 leaves them out")
    parser.add_argument("-mbit", default="100,300,1000,10000", help="bandwidths of the namespaces")
    parser.parse_args(namespace=ARGS)
    cores = os.cpu_count()
    began, load = time.time(), os.getloadavg()[0]
    counts = [n for n in (2, 4) if n <= ARGS.hosts]
    speeds = sorted(int(x) for x in ARGS.mbit.split(","))
    # What, ranks, workers, hosts, Mbit/s.
    rows = [("one process, 1 worker", 1, 1, 0, 0), (f"one process, {cores} workers", 1, cores, 0, 0),
            ("2 ranks, shared memory", 2, 1, 0, 0)]
    rows += [(f"{n} hosts, {f'{m} Mbit/s' if m else 'no limit'}", n, 1, n, m) for n in counts for m in [0] + speeds[::-1]]
    steps = sorted({("tiny", r, w, r, ARGS.batch // r) for _, r, w, _, _ in rows})
    # Ranks, hosts, Mbit/s, values, times.
    some = [1 << 10, 1 << 14, 1 << 18, 1 << 20]
    alone = [(2, 0, 0, some, 100)] + [(n, n, 0, some, 50) for n in counts] + [(n, n, speeds[0], some[2:3], 8) for n in counts[:1]]
    found = {}

    def note(key, values):
        found.setdefault(key, []).extend(values)

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([ARGS.gomae, "pretrain", "-preset", "tiny", "-steps", "1", "-batch", str(ARGS.batch), "-out",
                        os.path.join(folder, "tiny")], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        down(ARGS.hosts)
        try:
            if ARGS.hosts:
                up(ARGS.hosts)
            for i in range(ARGS.repeat):
                print(f"round {i + 1} of {ARGS.repeat}, {time.time() - began:.0f} s, load average {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
                for x in steps:
                    note(x, step(*x, ARGS.seconds))
                for x in alone:
                    limit(ARGS.hosts, x[2])
                    for s in sums(*x, folder):
                        note((s["by"], s["ranks"], s["hosts"], s["mbit"], s["values"]), [s])
                for what, ranks, workers, hosts, mbit in rows:
                    limit(ARGS.hosts, mbit)
                    n = ARGS.steps // 2 if mbit == speeds[0] else ARGS.steps
                    note(what, [train(ranks, workers, hosts, n, folder)])
        finally:
            down(ARGS.hosts)
    for batch in (4, 16):
        x = ("base", 2, cores, 1, batch)
        steps.append(x)
        note(x, step(*x, 0))
    columns = lambda found: {key: [x[key] for x in found] for key in found[0]}
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = re.search(r"model name\s*: (.*)", f.read())
    json.dump({
        "machine": f"{cpu[1] if cpu else os.uname().machine}, {cores} cores", "cores": cores,
        "commit": text("git rev-parse --short HEAD"), "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load": [load, os.getloadavg()[0]], "batch": ARGS.batch, "took_s": round(time.time() - began),
        "steps": [{"model": x[0], "copies": x[3]} | middle(found[x]) for x in steps],
        "sums": [middle(v) for key, v in found.items() if isinstance(v[0], dict) and "values" in v[0]],
        "rows": [{"what": x[0], "ranks": x[1], "workers": x[2], "hosts": x[3], "mbit": x[4]} | columns(found[x[0]]) for x in rows],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
