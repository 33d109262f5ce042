// Package dead shows the work that failed too often, and sends it again.
package dead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mastralambda/shared/mastra"
)

// most is how many pieces are listed.
const most = 1000

// Run does what args say: list, resend ID.
func Run(ctx context.Context, q mastra.Queue, out io.Writer, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "list":
		list, err := q.Dead(ctx, most)
		if err != nil {
			return err
		}
		for _, d := range list {
			fmt.Fprintf(out, "%s  %s %q  tenant %s, due %s, %d attempts: %s\n", d.ID, d.Work.Kind, d.Work.ID, d.Work.Tenant, d.Work.At.Time().Format(time.RFC3339), d.Attempts, d.Reason)
		}
		if len(list) == 0 {
			fmt.Fprintln(out, "There is none.")
		}
		return nil
	case len(args) == 2 && args[0] == "resend":
		if err := q.Resend(ctx, args[1]); err != nil {
			return err
		}
		fmt.Fprintln(out, "Sent again.")
		return nil
	}
	return errors.New(`usage: dead list | resend ID`)
}
