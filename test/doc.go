// Package test is the laboratory of real hosts.
package test
