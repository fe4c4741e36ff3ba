// Package config reads what the user decided, once and into types: fleet.yaml, and our own variables in the inventory. It
// contacts nobody.
package config
