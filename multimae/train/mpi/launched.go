package mpi

import (
	"os"
	"strconv"
)

// launchers are the environment variables by which launchers tell a process among how many it is.
var launchers = []struct{ size, name string }{
	{"OMPI_COMM_WORLD_SIZE", "Open MPI's mpirun"},
	{"PMI_SIZE", "mpirun"},
	{"MPI_LOCALNRANKS", "mpirun"},
	{"SLURM_STEP_NUM_TASKS", "srun"},
}

// Launched returns the number of processes that an MPI launcher says it started together, this one
// among them, and who it is. It returns 0 if none says so.
func Launched() (size int, launcher string) {
	for _, l := range launchers {
		if n, err := strconv.Atoi(os.Getenv(l.size)); err == nil && n > size {
			size, launcher = n, l.name
		}
	}
	return size, launcher
}
