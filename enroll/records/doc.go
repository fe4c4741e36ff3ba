// Package records shows what is known of every host, and takes in what people know better: import, accept, forget, export.
package records
