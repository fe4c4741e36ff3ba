package docs

import (
	"reflect"
	"strings"
	"testing"
)

func TestWhatAPageHasToTry(t *testing.T) {
	t.Parallel()
	p, err := readPage(strings.ReplaceAll(`# A page

<!-- tested: hosts=3 files=inventory.yaml -->

~~~yaml fleet.yaml
version: v1
a: b
~~~

~~~console
$ fleetctl enroll --check   # exit code 4
web-01 … changed
$ cat x
~~~

~~~
fleetctl scan --proof=false    # a comment
tctl get tokens
~~~

    bin/fleetctl status
`, "~~~", "```"))
	if err != nil {
		t.Fatal(err)
	}
	want := page{
		setting: map[string]string{"hosts": "3", "files": "inventory.yaml"},
		steps: []step{
			{line: 5, file: "fleet.yaml", text: "version: v1\na: b\n"},
			{line: 11, text: "fleetctl enroll --check", code: 4, says: []string{"web-01 … changed"}},
			{line: 13, text: "cat x"},
		},
		loose: []command{{17, "scan --proof=false    # a comment"}, {21, "status"}},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v", p)
	}
}

func TestPagesThatCannotBeTried(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"```console\n$ true",
		"```console\nsaid by nobody\n```",
		"```console\n$ true\n```\n<!-- tested: hosts=3 -->",
		"<!-- tested: hosts -->",
	} {
		if p, err := readPage(text); err == nil {
			t.Errorf("%q is %+v", text, p)
		}
	}
}

func TestLinesAreFoundInOrder(t *testing.T) {
	t.Parallel()
	said := "HOST    OUTCOME\nweb-01  ok   EK 0123\nweb-02  failed\n3 hosts"
	for name, tt := range map[string]struct {
		want    []string
		missing string
	}{
		"all":             {[]string{"HOST OUTCOME", "web-01  ok …", "…", "3 hosts"}, ""},
		"another order":   {[]string{"web-02 failed", "web-01 ok …"}, "web-01 ok …"},
		"more than there": {[]string{"web-01 ok"}, "web-01 ok"},
		"twice":           {[]string{"3 hosts", "3 hosts"}, "3 hosts"},
	} {
		if got := missing(tt.want, said); got != tt.missing {
			t.Errorf("%s: missing %q, want %q", name, got, tt.missing)
		}
	}
}
