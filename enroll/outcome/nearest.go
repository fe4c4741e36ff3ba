package outcome

// Nearest is the name that somebody probably meant by a word; "" when none is near. Of equally near ones it is the first.
func Nearest(word string, names []string) string {
	best, least := "", len(word)+1
	for _, name := range names {
		if d := Distance(word, name); d < least && d <= max(1, min(len(word), len(name))/3) {
			best, least = name, d
		}
	}
	return best
}

// Distance is how many letters have to be added, left out, replaced, or swapped with their neighbour, to make one word of
// another (the optimal string alignment distance). Letters are bytes.
func Distance(a, b string) int {
	before, last, now := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		now[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := last[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			now[j] = min(last[j]+1, now[j-1]+1, replaced)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
		before, last, now = last, now, before
	}
	return last[len(b)]
}
