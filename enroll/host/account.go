package host

import (
	"cmp"
	"fleetctl/remote"
	"fmt"
	"slices"
	"strings"
)

// userFacts are of passwd and group.
type userFacts struct {
	uid     int
	groups  []string
	comment string
	nss     bool // it is in no file of this host's: a directory service has it
}

// accountFacts are of tbot's user and of the groups.
var accountFacts = factsOf{
	vars: func(d Desired) []shellVar {
		return []shellVar{{"U", d.Tbot.User}, {"G", d.Tbot.Group}, {"A", accessGroup}}
	},
	script: accountScript,
	set: map[string]func(*Facts, string) error{
		"user.uid":     func(f *Facts, v string) error { return setNumber(v, &f.tbotUser().uid) },
		"user.groups":  func(f *Facts, v string) error { f.tbotUser().groups = strings.Fields(v); return nil },
		"user.comment": func(f *Facts, v string) error { f.tbotUser().comment = v; return nil },
		"group":        func(f *Facts, v string) error { return setTruth(v, &f.group) },
		"access.group": func(f *Facts, v string) error { return setTruth(v, &f.access) },
		"access.nss":   func(f *Facts, v string) error { return setTruth(v, &f.nss) },
		"user.nss":     func(f *Facts, v string) error { return setTruth(v, &f.tbotUser().nss) },
	},
}

const accountScript = `account() {
  ac=$(if has getent; then getent "$1" "$2"; else grep "^$2:" "/etc/$1"; fi 2>/dev/null)
  if [ -n "$ac" ]; then printf '%s\n' "${ac%%"$nl"*}"; fi
}
e=$(account passwd "$U")
if [ -n "$e" ]; then
  kv user.uid "$(printf '%s' "$e" | cut -d: -f3)"
  kv user.comment "$(printf '%s' "$e" | cut -d: -f5)"
  kv user.groups "$(id -nG "$U" 2>/dev/null)"
fi
if [ -n "$e" ] && ! grep -q "^$U:" /etc/passwd; then echo user.nss=1; fi
if [ -n "$(account group "$G")" ]; then echo group=1; fi
if [ -n "$(account group "$A")" ]; then
  echo access.group=1
  grep -q "^$A:" /etc/group || echo access.nss=1
fi
`

func (f *Facts) tbotUser() *userFacts {
	if f.user == nil {
		f.user = &userFacts{}
	}
	return f.user
}

// inAccessGroup says whether tbot's user is a member of the group that may open the TPM.
func (f *Facts) inAccessGroup() bool {
	return f.user != nil && slices.Contains(f.user.groups, accessGroup)
}

// userComment marks an account as ours, so that a removal knows that it may go.
const userComment = "tbot, made by fleetctl"

// accounts are tbot's group and user.
func (p *planner) accounts() {
	t, q := p.d.Tbot, remote.Quote
	if t.User == "root" {
		p.done("user root", "it is always there")
		return
	}
	p.group(t.Group, p.f.group)
	if p.f.user != nil {
		p.done("user "+t.User, "it exists, uid %d", p.f.user.uid)
		return
	}
	step := p.do("user "+t.User, "it doesn't exist", action{script: fmt.Sprintf(`if has useradd; then
  useradd --system --gid %[2]s --no-create-home --home-dir %[3]s --shell "$(nologin)" --comment %[4]s %[1]s
else adduser -S -D -H -G %[2]s -h %[3]s -s "$(nologin)" -g %[4]s %[1]s
fi`, q(t.User), q(t.Group), q(string(t.Storage)), q(userComment))})
	step.Makes = Thing{kind: thingUser, name: t.User}
	p.undo(step, action{script: userdel(t.User), whole: true})
	p.restart = append(p.restart, "user "+t.User)
}

// group is a group that has to exist.
func (p *planner) group(name string, there bool) {
	if there {
		p.done("group "+name, "it exists")
		return
	}
	script := fmt.Sprintf("if has groupadd; then groupadd --system %[1]s; else addgroup -S %[1]s; fi", remote.Quote(name))
	step := p.do("group "+name, "it doesn't exist", action{script: script})
	step.Makes = Thing{kind: thingGroup, name: name}
	p.undo(step, action{script: groupdel(name), whole: true})
}

// member puts tbot's user into the group that may open the TPM.
func (p *planner) member() {
	user := p.d.Tbot.User
	name := memberStep(user)
	if p.f.inAccessGroup() {
		p.done(name, "it is a member")
		return
	}
	if p.f.nss || p.f.user != nil && p.f.user.nss { // the tools end well, and change nothing
		p.done(name, "a directory service has them: the unit gives tbot the group (SupplementaryGroups)")
		return
	}
	script := fmt.Sprintf(`if has usermod; then usermod -a -G %[2]s %[1]s; else addgroup %[1]s %[2]s; fi
grep -E -q %[3]s /etc/group || { echo "user "%[1]s" did not get into group %[2]s" >&2; exit 1; }`,
		remote.Quote(user), accessGroup, remote.Quote("^"+accessGroup+":.*[:,]"+user+"(,|$)"))
	step := p.do(name, "it is no member", action{script: script})
	step.Makes = Thing{kind: thingMember, name: accessGroup, owner: user}
	p.undo(step, action{script: leave(user, accessGroup), whole: true})
	p.restart = append(p.restart, "group "+accessGroup)
}

func memberStep(user string) string { return fmt.Sprintf("user %s in group %s", user, accessGroup) }

func userdel(user string) string {
	return fmt.Sprintf("if has userdel; then userdel %[1]s; else deluser %[1]s; fi", remote.Quote(user))
}

// groupdel minds that userdel may have taken the group along.
func groupdel(group string) string {
	return fmt.Sprintf("if grep -q '^%[1]s:' /etc/group; then if has groupdel; then groupdel %[1]s; else delgroup %[1]s; fi; fi", group)
}

// leave takes a user out of a group.
func leave(user, group string) string {
	return fmt.Sprintf("if has gpasswd; then gpasswd -d %[1]s %[2]s >/dev/null; else delgroup %[1]s %[2]s; fi", remote.Quote(user), group)
}

// accountsAway takes the users, their memberships and the groups that enrolls made. A group that somebody else has joined since
// stays.
func (p *removal) accountsAway() {
	user, u := p.d.Tbot.User, p.f.user
	mine := p.wasMade(thingUser, user)
	switch {
	case user == "root" || u == nil || mine:
	case u.comment == userComment && len(ofKind(p.d.made, thingUser)) == 0:
		p.do("user "+user, "enroll made it", action{script: userdel(user)})
		mine = true
	default:
		p.done("user "+user, "it was there before: it stays")
	}
	for _, t := range ofKind(p.d.made, thingMember) {
		who := cmp.Or(t.owner, user)
		if t.owner = who; p.there(t) != "" && !p.wasMade(thingUser, who) && !(mine && who == user) {
			p.do(fmt.Sprintf("user %s in group %s", who, t.name), "enroll put it there", action{script: leave(who, t.name)})
		}
	}
	for _, t := range ofKind(p.d.made, thingUser) {
		if p.there(t) != "" {
			p.do("user "+t.name, "enroll made it", action{script: userdel(t.name)})
		}
	}
	for _, t := range ofKind(p.d.made, thingGroup) {
		switch p.there(t) {
		case "":
		case "shared":
			p.done("group "+t.name, "enroll made it, and somebody else is in it by now: it stays")
		default:
			p.do("group "+t.name, "enroll made it", action{script: groupdel(t.name)})
		}
	}
}
