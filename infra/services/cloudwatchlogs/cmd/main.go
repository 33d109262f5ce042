// Command cmd serves a CloudWatch Logs for tests.
package main

import (
	"flag"
	"log"
	"net/http"
	"time"

	"mastralambda/infra/services/cloudwatchlogs"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:18140", "address")
	flag.Parse()
	s := &http.Server{Addr: *listen, Handler: &cloudwatchlogs.Server{}, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(s.ListenAndServe())
}
