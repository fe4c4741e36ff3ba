package versions

import (
	"testing"
)

func TestVersionsThatFit(t *testing.T) {
	for _, c := range []struct {
		tbot, cluster string
		fits          bool
	}{
		{"17.2.1", "17.5.0", true}, {"16.4.0", "17.5.0", true}, {"15.4.0", "17.5.0", false}, {"18.0.0", "17.5.0", false},
		{"", "17.5.0", true}, {"17.2.1", "", true},
	} {
		if err := CheckVersion(c.tbot, c.cluster); (err == nil) != c.fits {
			t.Errorf("tbot %s, cluster %s: %v", c.tbot, c.cluster, err)
		}
	}
}
