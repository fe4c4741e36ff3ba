package enrolltest

import (
	"strconv"
)

// shTest is test(1): one condition, perhaps turned round.
func shTest(s *shell, args []string) int {
	args = args[1:]
	if n := len(args); n > 0 && args[n-1] == "]" {
		args = args[:n-1]
	}
	not := len(args) > 0 && args[0] == "!"
	if not {
		args = args[1:]
	}
	ok, known := false, true
	switch len(args) {
	case 1:
		ok = args[0] != ""
	case 2:
		ok, known = s.testFile(args[0], args[1])
	case 3:
		ok, known = testTwo(args[0], args[1], args[2])
	default:
		known = len(args) == 0
	}
	if !known {
		return s.unknown("test %q", args)
	}
	return truth(ok != not)
}

func testTwo(a, op, b string) (ok, known bool) {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	numbers := errX == nil && errY == nil
	switch op {
	case "=":
		return a == b, true
	case "!=":
		return a != b, true
	case "-eq":
		return x == y, numbers
	case "-ne":
		return x != y, numbers
	case "-lt":
		return x < y, numbers
	case "-ge":
		return x >= y, numbers
	}
	return false, false
}

func (s *shell) testFile(op, name string) (ok, known bool) {
	f, _, err := s.host.s.follow(s.user, name)
	there := err == nil
	switch op {
	case "-n":
		return name != "", true
	case "-z":
		return name == "", true
	case "-L":
		f, err = s.host.s.lookup(s.user, name)
		return err == nil && f.Kind == Link, true
	case "-e":
		return there, true
	case "-f":
		return there && f.Kind == Regular, true
	case "-d":
		return there && f.Kind == Dir, true
	case "-c":
		return there && f.Kind == Char, true
	case "-r":
		return there && s.host.s.may(s.user, f, 4), true
	case "-w":
		return there && s.host.s.may(s.user, f, 2), true
	case "-x":
		return there && s.host.s.may(s.user, f, 1), true
	}
	return false, false
}
