// Command fleetsim.
package main

func main() {}
