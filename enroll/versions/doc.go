// Package versions says what Teleport's programs do, by their exact version.
package versions
