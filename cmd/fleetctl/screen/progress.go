package screen

import (
	"fmt"
	"strings"
	"time"
)

// Progress is how far a run over hosts has come. It is used by one goroutine at a time.
type Progress struct {
	what   string
	total  int
	begun  time.Time
	done   int
	failed int
	busy   map[string]*busy
	stage  string      // of a rollout: "canary 1 of 2"
	recent []time.Time // when the latest hosts ended, at most of the last half minute
}

// busy is a host that is worked on.
type busy struct {
	since time.Time
	doing string
}

// window is the time from which the speed is taken.
const window = 30 * time.Second

// NewProgress is a run that begins over so many hosts.
func NewProgress(what string, total int, now time.Time) *Progress {
	return &Progress{what: what, total: total, begun: now, busy: map[string]*busy{}}
}

// At notes what is done about a host from now on.
func (p *Progress) At(host, doing string, now time.Time) {
	b, ok := p.busy[host]
	if !ok {
		b = &busy{since: now}
		p.busy[host] = b
	}
	b.doing = doing
}

// Done notes that a host is through.
func (p *Progress) Done(host string, failed bool, now time.Time) {
	delete(p.busy, host)
	p.done++
	if failed {
		p.failed++
	}
	p.recent = append(p.recent, now)
	p.forget(now)
}

// Stage notes how far a rollout has come, in words.
func (p *Progress) Stage(text string) { p.stage = text }

// Running is how many hosts are worked on, and Left how many have not begun.
func (p *Progress) Running() int { return len(p.busy) }

// Left is how many hosts have not begun.
func (p *Progress) Left() int { return max(0, p.total-p.done-len(p.busy)) }

// Fraction is how much is done, from 0 to 1.
func (p *Progress) Fraction() float64 {
	if p.total == 0 {
		return 0
	}
	return float64(p.done) / float64(p.total)
}

// Text says how far the run has come, in at most width columns (0: as many as it takes). What matters least is left out first.
func (p *Progress) Text(now time.Time, width int) string {
	parts := []string{fmt.Sprintf("%s %d/%d", p.what, p.done, p.total)}
	add := func(text string) {
		if text != "" {
			parts = append(parts, text)
		}
	}
	if p.failed > 0 {
		add(fmt.Sprintf("%d failed", p.failed))
	}
	add(p.stage)
	if n := len(p.busy); n > 0 {
		add(fmt.Sprintf("%d running", n))
	}
	rate := p.rate(now)
	add(p.timeLeft(rate))
	add(p.slowest(now))
	if rate > 0 {
		add(fmt.Sprintf("%.2g/s", rate))
	}
	text := parts[0]
	for _, part := range parts[1:] {
		if longer := text + ", " + part; width == 0 || Width(longer) <= width {
			text = longer
		}
	}
	if width == 0 {
		return text
	}
	return Cut(text, width, "")
}

// forget forgets what is too long ago for the speed.
func (p *Progress) forget(now time.Time) {
	i := 0
	for i < len(p.recent) && now.Sub(p.recent[i]) > window {
		i++
	}
	p.recent = p.recent[i:]
}

// rate is how many hosts end in a second, by the last half minute; 0: nobody knows yet.
func (p *Progress) rate(now time.Time) float64 {
	p.forget(now)
	span := min(now.Sub(p.begun), window)
	if span < time.Second || len(p.recent) == 0 {
		return 0
	}
	return float64(len(p.recent)) / span.Seconds()
}

// timeLeft is how long it will take at that speed.
func (p *Progress) timeLeft(rate float64) string {
	if rate == 0 {
		return ""
	}
	left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
	if left < time.Second {
		return ""
	}
	return "about " + Rough(left) + " left"
}

// slowest names the host that is waited for longest, once it takes long.
func (p *Progress) slowest(now time.Time) string {
	name := ""
	for host, b := range p.busy {
		if name == "" || b.since.Before(p.busy[name].since) || b.since.Equal(p.busy[name].since) && host < name {
			name = host
		}
	}
	if name == "" || now.Sub(p.busy[name].since) < 2*time.Second {
		return ""
	}
	return fmt.Sprintf("%s: %s for %s", name, p.busy[name].doing, Rough(now.Sub(p.busy[name].since)))
}

// Rough is a time as a person says it: "8 s", "3 min", "2 h 10 min".
func Rough(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
	}
	d = d.Round(10 * time.Minute)
	return strings.TrimSuffix(fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60), " 0 min")
}
