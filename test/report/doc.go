// Package report opens the page that fleetctl report writes in a real browser, Chromium without a window, and looks at what
// somebody who reads, filters, sorts or prints it meets.
package report
