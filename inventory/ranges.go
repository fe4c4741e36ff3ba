package inventory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxRange is how many hosts one name with ranges may stand for. It is far beyond a real fleet: more is a typing error,
// which must not eat the controller's memory.
const maxRange = 1_000_000

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// expandHosts takes "name", "name:port" or a name with ranges to host names and a port (0 when there is none).
func expandHosts(pattern string) (names []string, port int, err error) {
	base, port, _ := splitPort(pattern)
	names, err = expandRanges(base)
	if err != nil {
		return nil, 0, fmt.Errorf("host name %q: %w", pattern, err)
	}
	return names, port, nil
}

// expandRanges writes out all ranges of a name: "db[01:03]" is db01, db02 and db03, with both bounds and the zeros kept.
// A third part is the step; letters count from a to z and then from A to Z. A range that runs backwards is an error
// (Ansible takes a backward range of numbers for no hosts at all).
func expandRanges(name string) ([]string, error) {
	if strings.IndexByte(name, '[') < 0 {
		return []string{name}, nil
	}
	done := []string{""}
	for rest := name; rest != ""; {
		head, after, found := strings.Cut(rest, "[")
		var seq []string
		if found {
			spec, tail, closed := strings.Cut(after, "]")
			if !closed {
				return nil, errors.New("a range is not closed: ] is missing")
			}
			var err error
			if seq, err = expandRange(spec); err != nil {
				return nil, fmt.Errorf("range [%s]: %w", spec, err)
			}
			after = tail
		} else {
			seq, after = []string{""}, ""
		}
		if len(done) > maxRange/len(seq) {
			return nil, fmt.Errorf("the ranges stand for more than %d hosts", maxRange)
		}
		next := make([]string, 0, len(done)*len(seq))
		for _, d := range done {
			for _, s := range seq {
				next = append(next, d+head+s)
			}
		}
		done, rest = next, after
	}
	return done, nil
}

// expandRange writes out what stands between the brackets: begin:end or begin:end:step.
func expandRange(spec string) ([]string, error) {
	parts := strings.Split(spec, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return nil, errors.New("write begin:end or begin:end:step")
	}
	begin, end, step := parts[0], parts[1], 1
	if begin == "" {
		begin = "0"
	}
	if end == "" {
		return nil, errors.New("the end is missing")
	}
	if len(parts) == 3 {
		var err error
		if step, err = strconv.Atoi(parts[2]); err != nil || step < 1 {
			return nil, fmt.Errorf("step %q is not a positive number", parts[2])
		}
	}
	if from, to := letterIndex(begin), letterIndex(end); from >= 0 && to >= 0 {
		return countUp(from, to, step, func(i int) string { return letters[i : i+1] })
	}
	return expandNumbers(begin, end, step)
}

func expandNumbers(begin, end string, step int) ([]string, error) {
	width := 0
	if len(begin) > 1 && begin[0] == '0' {
		if len(begin) != len(end) {
			return nil, errors.New("begin and end of a zero-padded range must be equally long")
		}
		width = len(begin)
	}
	from, err := rangeBound(begin)
	if err != nil {
		return nil, err
	}
	to, err := rangeBound(end)
	if err != nil {
		return nil, err
	}
	return countUp(from, to, step, func(i int) string { return fmt.Sprintf("%0*d", width, i) })
}

func rangeBound(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	if err != nil {
		return 0, fmt.Errorf("%q is neither a number nor a single letter", s)
	}
	return int(n), nil
}

// letterIndex is the index of a single letter in letters, or -1.
func letterIndex(s string) int {
	if len(s) != 1 {
		return -1
	}
	return strings.Index(letters, s)
}

func countUp(from, to, step int, text func(int) string) ([]string, error) {
	if from > to {
		return nil, errors.New("it runs backwards: begin must not be greater than end")
	}
	if (to-from)/step >= maxRange {
		return nil, fmt.Errorf("it stands for more than %d hosts", maxRange)
	}
	seq := make([]string, 0, (to-from)/step+1)
	for i := from; i <= to; i += step {
		seq = append(seq, text(i))
		if i > to-step {
			break // i += step would overflow for a bound near the largest integer
		}
	}
	return seq, nil
}
