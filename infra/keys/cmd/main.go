// Command cmd makes, lists and revokes API keys: of this machine's storage, or with -stack NAME of a deployed stack.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"mastralambda/infra/keys"
	"mastralambda/infra/local"
)

func main() {
	stack := flag.String("stack", "", "a deployed stack")
	flag.Parse()
	var err error
	if *stack == "" {
		err = local.Keys(context.Background(), os.Getenv, os.Stdout, flag.Args())
	} else {
		err = keys.OfStack(context.Background(), *stack, os.Stdout, flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "key:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}
