package cli

import (
	"errors"
	"strings"
	"testing"
)

func TestErrorsAreRedTrees(t *testing.T) {
	inner := errors.New("verifying EK cert\n\tx509: unknown")
	for _, c := range []struct {
		err  error
		want string
		code int
	}{
		{nil, "", 0},
		{errors.New("plain"), "\x1b[31mERROR: \x1b[0mplain\n\n", 1},
		{Wrap(Wrap(inner, "validating %s", "TPM"), "joining with token"),
			"\x1b[31mERROR: \x1b[0mjoining with token\n\tvalidating TPM\n\t\tverifying EK cert\n\t\t\tx509: unknown\n\n", 1},
		{Wrap(nil, "nothing"), "", 0},
		{Wrap(Unscripted("tctl %s", "users"), "x"), "STAND-IN FOR TCTL: NOT SCRIPTED: tctl users\n", CodeUnscripted},
	} {
		var out strings.Builder
		if code := Exit(&out, "tctl", c.err); code != c.code || out.String() != c.want {
			t.Errorf("%d %q, want %d %q", code, out.String(), c.code, c.want)
		}
	}
}

func TestFlags(t *testing.T) {
	command := Command{Name: "tbot start", Args: 1, Flags: []Flag{
		{Name: "config", Short: 'c'}, {Name: "debug", Short: 'd', Bool: true}, {Name: "oneshot", Bool: true},
		{Name: "ca-pin", Repeats: true}, {Name: "log-format", Unplayed: true},
	}}
	for _, c := range []struct{ line, config, args, err string }{
		{"-c a x", "a", "x", ""},
		{"x --config=a", "a", "x", ""},
		{"--config a -d", "a", "", ""},
		{"-dca", "a", "", ""},
		{"-- --config", "", "--config", ""},
		{"--ca-pin a --ca-pin b", "", "", ""},
		{"--no-oneshot", "", "", ""},
		{"--pid-file=x", "", "", "unknown long flag '--pid-file'"},
		{"-dx", "", "", "unknown short flag '-x'"},
		{"--config", "", "", "expected argument for flag '--config'"},
		{"-c a -c b", "", "", "flag 'config' cannot be repeated"},
		{"x y", "", "", "unexpected y"},
		{"--log-format=json", "", "", "tbot start --log-format"},
		{"--help", "", "", "tbot start --help"},
	} {
		g, err := command.Parse(strings.Fields(c.line))
		if err != nil || c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %q", c.line, err, c.err)
			}
			continue
		}
		if g.Text("config") != c.config || strings.Join(g.Args, " ") != c.args {
			t.Errorf("%s: %q %q", c.line, g.Text("config"), g.Args)
		}
	}
	_, err := command.Parse([]string{"--pid-file"})
	var out strings.Builder
	Exit(&out, "tbot", err)
	want := "Usage: tbot start [<flags>]\n\nFlags:\n  -c, --config\n"
	if !strings.HasPrefix(out.String(), want) || !strings.HasSuffix(out.String(), "\n\n\x1b[31mERROR: \x1b[0munknown long flag '--pid-file'\n\n") {
		t.Errorf("%q", out.String())
	}
}
