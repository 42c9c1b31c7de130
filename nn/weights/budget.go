package weights

// A file may ask for much more memory than it has bytes: by values that refer to one another, by
// tensors that share a storage or repeat a value with a stride of 0, by entries that inflate. So
// everything that opening and reading a checkpoint allocates is paid for beforehand, out of one
// budget for the file.

const (
	// budgetFactor is how many times its own size a file may take. Real files take at most 10 times
	// their size, 8-bit integers that become int64 being the worst.
	budgetFactor = 12
	// budgetBase is what a file may take in any case.
	budgetBase = 32 << 20
)

// budget is the number of bytes that may still be allocated.
type budget int64

func newBudget(size int64) *budget {
	b := budget(min(size, 1<<56)*budgetFactor + budgetBase)
	return &b
}

// spend is called before n bytes are allocated.
func (b *budget) spend(n int64) error {
	if n < 0 || n > int64(*b) {
		return ErrTooLarge
	}
	*b -= budget(n)
	return nil
}
