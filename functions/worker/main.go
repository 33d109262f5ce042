// Command worker is the Lambda function that takes queued work: runs that are begun without waiting, that sleep, or that an
// invocation had no time for or died in; and webhooks. An event source mapping of the queue invokes it with a BatchSize of
// 1, ReportBatchItemFailures and a MaximumConcurrency of at least 2.
//
// It needs, beside what every function that runs the user's code needs (STORAGE_URL and its tables, MODEL …):
//
//	QUEUE_URL, QUEUE_ARN      the queue: standard, VisibilityTimeout at least this function's timeout (900 s), a redrive
//	                          policy to the dead-letter queue with a maxReceiveCount of 100: it counts workers that died, too, and a
//	                          run in which ten died in the same place is to end as failed before that. After 8 failed
//	                          attempts the worker puts work there by itself, with the reason
//	DEAD_QUEUE_URL            the dead-letter queue, with the longest retention there is (14 days)
//	SCHEDULER_GROUP           a schedule group of EventBridge Scheduler
//	SCHEDULER_ROLE_ARN        a role that scheduler.amazonaws.com assumes, which may sqs:SendMessage to the queue
//	CODE_VERSION              a whole number that grows with each deployment; where it is not set, the worker's own published
//	                          version, which the functions that begin runs are given
//	WEBHOOK_URL, WEBHOOK_SECRET   optional: who is told when runs end
//
// Its role may, on the queue: sqs:ReceiveMessage, DeleteMessage, GetQueueAttributes (the event source mapping),
// ChangeMessageVisibility, SendMessage; on the dead-letter queue: sqs:SendMessage; on the group's schedules:
// scheduler:CreateSchedule; on SCHEDULER_ROLE_ARN: iam:PassRole.
//
// The functions agents, workflows and tools need the same variables and sqs:SendMessage on the queue,
// scheduler:CreateSchedule and iam:PassRole: they hand over to the worker. Without QUEUE_URL they hand over nothing.
package main

import (
	"mastralambda/functions/wire/work"
	"mastralambda/shared/app"
)

func main() { work.Main(app.New) }
