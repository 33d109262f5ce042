package app

import (
	"context"
	"fmt"

	"mastralambda/shared/mastra"
)

// A workflow that waits for a person. Start it:
//
//	curl -X POST localhost:3000/api/workflows/refundWorkflow/execute -H 'Content-Type: application/json' \
//	  -d '{"inputData": {"orderId": "A-17", "amount": 250}}'
//
// The answer says "suspended" and names the run. It may wait for days and through restarts. Approve it:
//
//	curl -X POST 'localhost:3000/api/workflows/refundWorkflow/resume-async?runId=<runId>' \
//	  -H 'Content-Type: application/json' -d '{"step": "approve", "resumeData": {"approved": true}}'
var refundWorkflow = mastra.NewWorkflow[Refund, Refunded]("refundWorkflow").
	Describe("Pays money back; large amounts wait for approval.").
	Then(mastra.SuspendsWith[Request](mastra.NewPausable("approve", approve))).
	Then(mastra.NewStep("pay", pay))

// Refund is what the workflow takes.
type Refund struct {
	OrderID string  `json:"orderId" minLength:"1" maxLength:"100"`
	Amount  float64 `json:"amount" minimum:"0.01" maximum:"100000" jsonschema:"in euros"`
}

// Request is what the run shows while it waits.
type Request struct {
	Question string `json:"question"`
}

// Approval is what a person answers.
type Approval struct {
	Approved bool `json:"approved"`
}

// Decision is the output of approve.
type Decision struct {
	Refund
	Approved bool `json:"approved"`
}

// Refunded is what the workflow returns.
type Refunded struct {
	Status string `json:"status"`
}

func approve(_ context.Context, in Refund, answer *Approval) (Decision, error) {
	if in.Amount <= 100 {
		return Decision{in, true}, nil
	}
	if answer == nil {
		return Decision{}, mastra.Suspend(Request{fmt.Sprintf("Refund %.2f euros for order %s?", in.Amount, in.OrderID)})
	}
	return Decision{in, answer.Approved}, nil
}

func pay(_ context.Context, in Decision) (Refunded, error) {
	if !in.Approved {
		return Refunded{"declined"}, nil
	}
	return Refunded{fmt.Sprintf("%.2f euros paid back", in.Amount)}, nil
}
