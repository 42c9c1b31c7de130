package sizes

import (
	"fmt"
	"math"
	"testing"
)

func TestProduct(t *testing.T) {
	const most = math.MaxInt / 8
	for _, c := range []struct {
		sizes []int
		want  int
		ok    bool
	}{
		{nil, 1, true},
		{[]int{2, 3, 5}, 30, true},
		{[]int{2, 0, 5}, 0, true},
		{[]int{most}, most, true},
		{[]int{1, most, 1}, most, true},
		{[]int{most + 1}, 0, false},
		{[]int{0, most + 1}, 0, false},
		{[]int{most, 2}, 0, false},
		{[]int{most, 0, 2}, 0, false},
		{[]int{math.MaxInt, math.MaxInt}, 0, false},
		{[]int{1 << 16, 1 << 16, 1 << 16, 1 << 16}, 0, false},
		{[]int{-1}, 0, false},
		{[]int{0, -1}, 0, false},
		{[]int{math.MinInt, -1}, 0, false},
	} {
		t.Run(fmt.Sprint(c.sizes), func(t *testing.T) {
			if got, ok := Product(c.sizes...); got != c.want || ok != c.ok {
				t.Errorf("got %d, %v, want %d, %v", got, ok, c.want, c.ok)
			}
		})
	}
}
