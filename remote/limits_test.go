package remote

import (
	"testing"
	"time"
)

func TestLimitsFollowWhatIsSaid(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, tt := range []struct {
		name                   string
		opts                   Options
		host, config           time.Duration // ansible_timeout; ConnectTimeout
		connect, kex, forLogin time.Duration
	}{
		{"nothing", Options{}, 0, 0, 10 * s, 20 * s, 20 * s},
		{"ansible_timeout", Options{}, 60 * s, 0, 60 * s, 60 * s, 60 * s},
		{"a short ansible_timeout", Options{}, 3 * s, 0, 3 * s, 20 * s, 20 * s},
		{"ConnectTimeout", Options{}, 0, 45 * s, 45 * s, 45 * s, 45 * s},
		{"both", Options{}, 30 * s, 45 * s, 30 * s, 30 * s, 30 * s},
		{"the command line", Options{ConnectTimeout: 5 * s, AuthTimeout: 90 * s}, 30 * s, 45 * s, 5 * s, 20 * s, 90 * s},
		{"a login that is to be quick", Options{AuthTimeout: s}, 30 * s, 0, 30 * s, 30 * s, s},
	} {
		d, at := &Dialer{opts: tt.opts}, &settings{timeout: tt.host, connectTimeout: tt.config}
		if c, k, l := d.connectLimit(at), d.handshakeLimit(at), d.authLimit(at); c != tt.connect || k != tt.kex || l != tt.forLogin {
			t.Errorf("%s: %s, %s, %s", tt.name, c, k, l)
		}
	}
}
