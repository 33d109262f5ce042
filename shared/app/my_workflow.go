package app

import (
	"context"
	"fmt"
	"strings"

	"mastralambda/shared/mastra"
)

// A workflow is steps, each a function from one struct to the next. A step's result is stored before the next one begins,
// so a run goes on where it stood if the process dies. Run it:
//
//	curl -X POST localhost:3000/api/workflows/myWorkflow/execute -H 'Content-Type: application/json' \
//	  -d '{"triggerData": {"userId": "123", "action": "process"}}'
var myWorkflow = mastra.NewWorkflow[Trigger, Outcome]("myWorkflow").
	Describe("Does an action for a user.").
	Then(mastra.NewStep("check", check).Describe("Refuses actions that nobody knows")).
	Parallel( // both see the same input; the next step gets {"greet": …, "plan": …}
		mastra.NewStep("greet", greet),
		mastra.NewStep("plan", plan),
	).
	Then(mastra.NewStep("finish", finish))

// Trigger is what the workflow takes.
type Trigger struct {
	UserID string `json:"userId" minLength:"1" maxLength:"100"`
	Action string `json:"action" minLength:"1" maxLength:"100"`
}

// Outcome is what it returns.
type Outcome struct {
	Status  string   `json:"status"`
	Message string   `json:"message"`
	Tasks   []string `json:"tasks"`
}

var actions = map[string][]string{
	"process": {"reserve the goods", "print the label", "tell the user"},
	"cancel":  {"release the goods", "tell the user"},
}

func check(_ context.Context, in Trigger) (Trigger, error) {
	in.Action = strings.ToLower(in.Action)
	if actions[in.Action] == nil {
		return in, fmt.Errorf("the action %q is unknown: take process or cancel", in.Action) // the run fails with this text
	}
	return in, nil
}

// Greeting is the output of greet.
type Greeting struct {
	Text string `json:"text"`
}

func greet(_ context.Context, in Trigger) (Greeting, error) {
	return Greeting{"Hello user " + in.UserID}, nil
}

// Plan is the output of plan.
type Plan struct {
	Action string   `json:"action"`
	Tasks  []string `json:"tasks"`
}

func plan(_ context.Context, in Trigger) (Plan, error) {
	return Plan{in.Action, actions[in.Action]}, nil
}

// Both is what finish gets from the steps before it, by their ids.
type Both struct {
	Greet Greeting `json:"greet"`
	Plan  Plan     `json:"plan"`
}

func finish(_ context.Context, in Both) (Outcome, error) {
	return Outcome{"done", fmt.Sprintf("%s, your request %q is done.", in.Greet.Text, in.Plan.Action), in.Plan.Tasks}, nil
}
