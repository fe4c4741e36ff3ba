package report

import "time"

// monthsShown is how many months Months count one by one.
const monthsShown = 24

// Months count dates by month, in UTC.
type Months struct {
	Before  int     `json:"before"` // dates before the first month; of those in it, the month's count
	Months  []Month `json:"months"` // one after the other, also those without any
	After   int     `json:"after"`
	Unknown int     `json:"unknown"` // hosts without a date
}

// Month is how many dates lie in it.
type Month struct {
	Month string `json:"month"` // 2026-11
	Hosts int    `json:"hosts"`

	begin time.Time
}

// monthsFrom are the months that begin so many months from now; 0: with this one.
func monthsFrom(now time.Time, offset int) *Months {
	now = now.UTC()
	m := &Months{}
	for i := range monthsShown {
		begin := time.Date(now.Year(), now.Month()+time.Month(offset+i), 1, 0, 0, 0, 0, time.UTC)
		m.Months = append(m.Months, Month{Month: begin.Format("2006-01"), begin: begin})
	}
	return m
}

func (m *Months) add(t time.Time) {
	switch first, end := m.Months[0].begin, m.Months[monthsShown-1].begin.AddDate(0, 1, 0); {
	case t.IsZero():
		m.Unknown++
	case t.Before(first):
		m.Before++
	case !t.Before(end):
		m.After++
	default:
		t = t.UTC()
		m.Months[12*(t.Year()-first.Year())+int(t.Month()-first.Month())].Hosts++
	}
}
