package config

import (
	"fmt"
	"testing"
)

func TestShares(t *testing.T) {
	for _, tc := range []struct {
		in    string
		total int
		want  int
		fails bool
	}{
		{in: "10", total: 3, want: 10},
		{in: "20%", total: 50, want: 10},
		{in: "5%", total: 10, want: 1}, // a share above 0 is never 0 hosts
		{in: "0%", total: 10, want: 0},
		{in: "100%", total: 7, want: 7},
		{in: "101%", total: 7, fails: true},
		{in: "-1", total: 7, fails: true},
		{in: "many", total: 7, fails: true},
		{in: "", total: 7, fails: true},
	} {
		t.Run(fmt.Sprintf("%q of %d", tc.in, tc.total), func(t *testing.T) {
			share := Share(tc.in)
			if err, got := share.Check(), share.Of(tc.total); (err != nil) != tc.fails || got != tc.want {
				t.Errorf("%d, %v; want %d, error %v", got, err, tc.want, tc.fails)
			}
		})
	}
}
