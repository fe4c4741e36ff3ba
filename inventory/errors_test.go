package inventory

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAMistakeIsNamedWithFileLineAndColumn(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"a host stands twice in YAML", "i.yml", "all:\n  hosts:\n    a:\n    b:\n    a:\n", `5:5: duplicate key "a": it already stands in line 3`},
		{"a group stands twice in YAML", "i.yml", "web:\ndb:\nweb:\n", `3:1: duplicate key "web"`},
		{"a variable stands twice in YAML", "i.yml", "web:\n  vars: {x: 1, y: 2, x: 3}\n", `2:22: duplicate key "x"`},
		{"a nested key stands twice in YAML", "i.yml", "web:\n  vars:\n    m:\n      k: 1\n      k: 2\n", `5:7: duplicate key "k"`},
		{"a key stands twice in JSON", "i.json", "{\"web\": {\"hosts\":\n  {\"a\": {}, \"a\": {}}}}", `2:13: duplicate key "a"`},
		{"a key stands twice in a listing", "i.json", `{"_meta": {"hostvars": {"a": {"x": 1, "x": 2}}}, "g": ["a"]}`, `1:39: duplicate key "x"`},
		{"a variable stands twice behind a host in INI", "hosts", "a x=1 y=2 x=3\n", `hosts:1:11: duplicate key "x": it already stands in this line`},
		{"a variable stands twice in a section of INI", "hosts", "[all:vars]\nx=1\ny=2\nx=3\n", `hosts:4:1: duplicate key "x": it already stands in line 2`},
		{"groups form a circle in YAML", "i.yml", "a:\n  children:\n    b:\n      children:\n        a:\n", `:3:5: group "b" as a child of "a" closes a cycle: "a" is already below "b"`},
		{"a group is its own child in YAML", "i.yml", "a:\n  children:\n    a:\n", `:3:5: group "a" is its own child`},
		{"ungrouped is a child", "hosts", "a\n[g:children]\nungrouped\n", `hosts:3:1: ungrouped cannot be a child of group "g"`},
		{"all is a child", "i.yml", "a:\n  children:\n    all:\n", `i.yml:3:5: all cannot be a child of group "a"`},
		{"groups form a circle in INI", "hosts", "[a:children]\nb\n[b:children]\nc\n[c:children]\na\n", `hosts:6:1: group "a" as a child of "c" closes a cycle`},
		{"groups form a circle in a listing", "i.json", `{"a": {"children": ["b"]}, "b": {"children": ["a"]}}`, `:1:47: group "a" as a child of "b" closes a cycle`},
		{"a range runs backwards in YAML", "i.yml", "all:\n  hosts:\n    web[5:1]:\n", `:3:5: host name "web[5:1]": range [5:1]: it runs backwards`},
		{"a range of letters runs backwards in INI", "hosts", "a\n[g]\n  web[c:a]\n", `:3:3: host name "web[c:a]": range [c:a]: it runs backwards`},
		{"the bounds of a range differ in width", "hosts", "web[01:100]\n", "equally long"},
		{"a range has no end", "hosts", "web[1:]\n", "the end is missing"},
		{"a range has step zero", "hosts", "web[1:3:0]\n", "is not a positive number"},
		{"a range is not closed", "hosts", "web[1:3\n", "] is missing"},
		{"a range is too large", "hosts", "web[1:2000000]\n", "more than 1000000 hosts"},
		{"several ranges are too large together", "hosts", "w[1:2000]x[1:2000]\n", "more than 1000000 hosts"},
		{"bytes are no UTF-8", "hosts", "web\ndb x=\xff\n", `hosts:2:6: byte 0xff is not UTF-8`},
		{"bytes of a comment are no UTF-8", "hosts", "# gr\xfc\xdfe\nweb\n", `hosts:1:5: byte 0xfc is not UTF-8`},
		{"bytes of a YAML file are no UTF-8", "i.yml", "all:\n  hosts: {\"\xe9\": }\n", `i.yml:2:12: byte 0xe9 is not UTF-8`},
		{"a tab indents YAML", "i.yml", "all:\n\thosts:\n", `i.yml:2:1: YAML: `},
		{"a quote is open in YAML", "i.yml", "all:\n  vars:\n    x: \"y\n", `i.yml:4:1: YAML: `},
		{"the indentation is wrong", "i.yml", "all:\n  hosts:\n    a:\n   b:\n", `i.yml:4:4: YAML: did not find expected key`},
		{"a colon is too many", "i.yml", "all:\n  vars:\n    x: a: b\n", `i.yml:3:9: YAML: mapping values are not allowed`},
		{"an alias is unknown", "i.yml", "all:\n  vars: {x: *no}\n", `i.yml`},
		{"an alias stands inside of itself", "i.yml", "all:\n  vars: &v\n    x: *v\n", ``},
		{"a merge key merges itself", "i.yml", "all:\n  vars: &v\n    <<: *v\n", `merges itself`},
		{"a merge key merges text", "i.yml", "all:\n  vars:\n    <<: text\n", `i.yml:3:9: << takes a mapping`},
		{"there are two documents", "i.yml", "all:\n---\nweb:\n", `i.yml:2:1: a second YAML document begins here`},
		{"a tag is unknown", "i.yml", "all:\n  vars: {x: !mine y}\n", `i.yml:2:13: the tag !mine is not known`},
		{"a date does not exist", "i.yml", "all:\n  vars: {x: 2001-02-30}\n", `i.yml:2:13: "2001-02-30" looks like a date`},
		{"hosts are a list", "i.yml", "all:\n  hosts:\n    - a\n", `i.yml:3:5: hosts of group "all" must be a mapping (names with a colon behind them), not a list`},
		{"a host's variables are a list", "i.yml", "all:\n  hosts:\n    a: [1]\n", `i.yml:3:8: the variables of host "a" must be a mapping, not a list`},
		{"a host's name is a number", "i.yml", "all:\n  hosts:\n    10:\n", `i.yml:3:5: the host name 10 is no string in YAML; put it in quotes`},
		{"a group's name is a boolean", "i.yml", "on:\n  hosts:\n", `i.yml:1:1: the group name on is no string in YAML`},
		{"a host's name is empty", "i.yml", "all:\n  hosts: {\"\": }\n", `i.yml:2:11: a host name is empty`},
		{"a child is no group", "i.yml", "a:\n  children:\n    b: text\n", `i.yml:3:5: child "b" of group "a" must be a mapping`},
		{"a priority is no number", "i.yml", "a:\n  vars:\n    ansible_group_priority: high\n", `i.yml:3:5: ansible_group_priority of group "a" is not a whole number`},
		{"a plugin is configured", "aws.yml", "plugin: amazon.aws.aws_ec2\n", `aws.yml:1:1: this configures an inventory plugin`},
		{"a playbook is no inventory", "site.yml", "- hosts: all\n", `site.yml:1:1: an inventory is a mapping of groups, not a list`},
		{"a file is encrypted", "i.yml", "$ANSIBLE_VAULT;1.1;AES256\n66\n", "i.yml:1:1: the file is encrypted with Ansible Vault: no vault password was given"},
		{"TOML is not read", "i.toml", "[web.hosts]\n", "i.toml: TOML inventories are read by Ansible alone"},
		{"JSON is cut off", "i.json", "{\"a\": {\n\"hosts\": ", `i.json:2:10: JSON: the document ends too early`},
		{"JSON has a comma too many", "i.json", "{\"a\": {},\n}", `i.json:2:1: JSON: `},
		{"JSON goes on behind its end", "i.json", "{}\n{}", `JSON: there is something behind the end`},
		{"a section is unknown", "hosts", "[web:host]\n", `hosts:1:1: section [web:host]: write hosts, children or vars`},
		{"a section has a blank", "hosts", "a\n [web servers]\n", `hosts:2:2: section [web servers] is invalid`},
		{"a child is never declared", "hosts", "[a:children]\n b # c\n", `hosts:2:2: group "b" is a child of "a", but no section declares it`},
		{"variables of a group that is never declared", "hosts", "\n[a:vars]\nx=1\n", `hosts:2:1: section [a:vars] has variables of a group that no section declares`},
		{"a variable has no value", "hosts", "[a]\n[a:vars]\nx\n", `hosts:3:1: expected name=value in section [a:vars], got "x"`},
		{"a host variable has no value", "hosts", "web  x=1 y\n", `hosts:1:10: expected name=value behind host "web", got "y"`},
		{"a quote is open in INI", "hosts", "web x=1 y=\"z\n", `hosts:1:11: the quote " is not closed`},
		{"a host ends with a colon", "hosts", "web1\nweb2:\n", `hosts:2:1: host name "web2:" ends with a colon`},
		{"YAML that is broken has no extension", "hosts", "all:\n  hosts:\n\ta:\n", `hosts:3:1: YAML: `},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadText(t, c.file, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the message has several lines: %q", err)
			}
		})
	}
}

func TestAliasesThatMultiplyAreRefused(t *testing.T) {
	text := "all:\n  vars:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		prev, next := string(rune('0'+i)), string(rune('1'+i))
		text += "    a" + next + ": &a" + next + " [" + strings.Repeat("*a"+prev+", ", 9) + "*a" + prev + "]\n"
	}
	if _, err := loadText(t, "i.yml", text); err == nil || !strings.Contains(err.Error(), "aliases of this file stand for more than") {
		t.Errorf("got %v", err)
	}
}

func TestAMistakeInVarsFilesIsNamedWithItsFile(t *testing.T) {
	for _, c := range []struct{ name, path, text, want string }{
		{"a key stands twice", "group_vars/all.yml", "x: 1\nx: 2\n", "group_vars/all.yml:2:1: duplicate key"},
		{"it is a list", "host_vars/a/x.yml", "- 1\n", "host_vars/a/x.yml:1:1: variables must be a mapping of names to values, not a list"},
		{"it is no YAML", "host_vars/a", "a: [\n", "host_vars/a:2:1: YAML: "},
		{"it is no UTF-8", "group_vars/ungrouped.yaml", "a: \xe4\n", "group_vars/ungrouped.yaml:1:4: byte 0xe4 is not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := writeFile(t, filepath.Join(dir, "hosts"), "a\n", 0o644)
			writeFile(t, filepath.Join(dir, c.path), c.text, 0o644)
			_, err := Load(context.Background(), []string{file}, Options{PlaybookDir: dir})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestAnExecutableThatFailsIsAnError(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"it exits with a code", "#!/bin/sh\necho no access >&2\nexit 4\n", "inv --list: exit status 4: no access"},
		{"it prints no JSON", "#!/bin/sh\necho hello\n", "inv --list:1:1: JSON: "},
		{"it prints nothing", "#!/bin/sh\n", "inv --list:1:1: JSON: the document ends too early"},
		{"it prints a list", "#!/bin/sh\necho '[1]'\n", "must print a JSON object"},
		{"it prints Latin-1", "#!/bin/sh\nprintf '{\"a\": [\"\\344\"]}'\n", "inv --list:1:9: byte 0xe4 is not UTF-8"},
		{"its interpreter is missing", "#!/nonexistent/interpreter\n", "inv --list: "},
		{"it fails for one host", "#!/bin/sh\n[ $1 = --list ] && echo '{\"a\": [\"h\"]}' && exit\nexit 1\n", "inv --host h: exit status 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := writeFile(t, filepath.Join(t.TempDir(), "inv"), c.text, 0o755)
			_, err := Load(context.Background(), []string{file}, Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
		})
	}
}

func TestAnExecutableEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	started := filepath.Join(dir, "started")
	file := writeFile(t, filepath.Join(dir, "inv"), "#!/bin/sh\n: > "+started+"\nexec sleep 1000\n", 0o755)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		for { // the kernel has no event for us that the script has begun
			if _, err := os.Stat(started); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Load(ctx, []string{file}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestASourceThatIsNotThereIsAnError(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "sub", "20-bad.yml"), "all:\n  hosts: [a]\n", 0o644)
	writeFile(t, filepath.Join(dir, "sub", "10-good"), "a\n", 0o644)
	for source, want := range map[string]string{
		filepath.Join(dir, "missing.yml"): "missing.yml: no such file or directory",
		"web1":                            `inventory web1: no such file or directory; for a host of that name, put a comma behind it: "web1,"`,
		filepath.Join(dir, "sub"):         "20-bad.yml:2:10: hosts of group",
		"-":                               "no standard input",
		"a[3:1],b":                        "runs backwards",
	} {
		if _, err := Load(context.Background(), []string{source}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want …%s…", source, err, want)
		}
	}
}
