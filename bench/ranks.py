#!/usr/bin/env python3
"""Measures training on several ranks: on one machine, and on network namespaces that stand for hosts.

  go build -o /tmp/gomae ./cmd/gomae
  python3 bench/ranks.py -gomae /tmp/gomae -mpirun mpich/bin/mpirun > ranks.json

Namespaces need root, and iproute2 with tc. A table goes to stderr and the figures to stdout. Every
row is a run of some steps, of which the first two do not count.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

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
    """Sets how much each host sends at most; None lifts that."""
    for i in range(1, n + 1):
        sh(f"tc -n gomae{i} qdisc del dev eth0 root", check=False)
        if mbit:
            sh(f"tc -n gomae{i} qdisc add dev eth0 root tbf rate {mbit}mbit burst 256kb latency 50ms")


def measure(ranks, workers, hosts, folder):
    """Trains and returns medians of the steps."""
    out = tempfile.mkdtemp(dir=folder)
    command = [ARGS.mpirun, "-n", str(ranks)]
    if hosts:
        remote = os.path.join(folder, "remote")
        with open(remote, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\n'
                    'host=${1##*.}; shift\nexec ip netns exec gomae$host sh -c "$*"\n')
        os.chmod(remote, 0o755)
        names = ",".join(f"10.77.0.{i}" for i in range(1, hosts + 1))
        command = ["ip", "netns", "exec", "gomae1", ARGS.mpirun, "-launcher", "rsh", "-launcher-exec", remote,
                   "-iface", "eth0", "-hosts", names, "-n", str(ranks)]
    with open(ARGS.config, encoding="utf-8") as f:
        config = json.load(f)
    config["train"].update(steps=ARGS.steps, batch=ARGS.batch, log_every=1, val_every=0, save_every=0, warmup_steps=0)
    path = os.path.join(out, "given.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(config, f)
    run = os.path.join(out, "run")
    gomae = [ARGS.gomae, "pretrain", "-config", path, "-workers", str(workers), "-out", run]
    if ranks > 1:
        gomae = command + gomae[:2] + ["-mpi"] + gomae[2:]
    # Else the ranks find out that they share a machine.
    env = os.environ | ({"UCX_TLS": "tcp,self", "FI_PROVIDER": "tcp", "MPIR_CVAR_NOLOCAL": "1"} if hosts else {})
    subprocess.run(gomae, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    steps = [x for x in lines if "lr" in x][2:]
    median = lambda key: statistics.median(x.get(key, 0) for x in steps)
    return {"step_s": ARGS.batch / median("images_per_s"), "sum_s": median("sum_s"), "sum_wait_s": median("sum_wait_s")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("-gomae", required=True, help="the command")
    parser.add_argument("-mpirun", default="mpirun", help="that of MPICH")
    parser.add_argument("-config", required=True, help="config.json of the model")
    parser.add_argument("-batch", type=int, default=16)
    parser.add_argument("-steps", type=int, default=12)
    parser.add_argument("-hosts", type=int, default=4, help="namespaces; 0 leaves them out")
    parser.add_argument("-mbit", default="100,1000,10000", help="bandwidths of the namespaces")
    parser.parse_args(namespace=ARGS)
    rows = []

    def row(what, ranks, workers, hosts, mbit, folder):
        print(what, file=sys.stderr, flush=True)
        rows.append({"what": what, "ranks": ranks, "workers": workers, "hosts": hosts, "mbit": mbit} | measure(ranks, workers, hosts, folder))

    with tempfile.TemporaryDirectory() as folder:
        row("one process, 1 worker", 1, 1, 0, None, folder)
        row("one process, 2 workers", 1, 2, 0, None, folder)
        row("2 ranks, shared memory", 2, 1, 0, None, folder)
        if ARGS.hosts:
            down(ARGS.hosts)
            try:
                up(ARGS.hosts)
                for hosts in [n for n in (2, 4) if n <= ARGS.hosts]:
                    for mbit in [None] + [int(x) for x in ARGS.mbit.split(",")][::-1]:
                        limit(ARGS.hosts, mbit)
                        speed = f"{mbit} Mbit/s" if mbit else "no limit"
                        row(f"{hosts} hosts, {speed}", hosts, 1, hosts, mbit, folder)
            finally:
                down(ARGS.hosts)
    print("| | seconds a step | summing | of it waiting | hidden |\n|---|---|---|---|---|", file=sys.stderr)
    for x in rows:
        hidden = f"{100 * (1 - x['sum_wait_s'] / x['sum_s']):.0f} %" if x["sum_s"] else ""
        print(f"| {x['what']} | {x['step_s']:.3f} | {x['sum_s']:.3f} | {x['sum_wait_s']:.3f} | {hidden} |", file=sys.stderr)
    json.dump({"batch": ARGS.batch, "steps": ARGS.steps, "load": os.getloadavg()[1], "cores": os.cpu_count(), "rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
