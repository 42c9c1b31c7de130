// Package mpi joins the processes that mpirun, Slurm or Kubeflow started, so that package train can
// train on all of them.
//
// It is compiled without cgo and opens the MPI library of the machine at run time: by the standard
// ABI of MPI 5 (libmpi_abi.so.1), or that of MPICH and its relatives (libmpi.so.12) or of Open MPI
// (libmpi.so.40). Which of them a library has, it says itself. Only Linux on amd64 and arm64 is
// supported; elsewhere Start returns ErrUnsupported, as it does in a program that was built with the
// tag nompi. A program without that tag is linked against the C library of the system.
//
// All calls of the library come from one thread, which waits by asking again and again with pauses
// in between. So a rank that waits leaves its cores to those that compute, and can be interrupted.
//
// # Order of sums
//
// The sum of a rank's values does not depend on how the library adds up, for it does not: the ranks
// exchange their values and add them in the order of ranks. For a given number of ranks the bits are
// those of any library, network and placement. Every rank sums a part of the values and sends it to
// the others, which moves as many bytes as the best reductions do. On a network the order so costs
// nothing. Between ranks that share memory the library takes less time, as it copies less:
// BenchmarkSum and BenchmarkAllreduce compare them, and bench/README.md has figures.
//
// # Lost ranks
//
// Every second each rank sends a message to the next one. A rank whose messages stay away for eight
// seconds is lost, killed or cut off, and all the others are ended. Launchers notice much sooner
// that a process of theirs has died. The messages are for what they do not see: a machine without
// power, a network that is down.
package mpi
